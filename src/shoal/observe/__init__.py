"""LOOKING: reads the pool, the hosts, the storage VMs and Ceph, all at once, and changes nothing."""
