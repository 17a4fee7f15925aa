"""A small real Ceph for tests: one mon, one mgr, one OSD, from the Ceph tree in the lab's cache."""
