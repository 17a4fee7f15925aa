"""A small real Ceph for tests: one mon, one mgr, one OSD, from the lab's Ceph image."""
