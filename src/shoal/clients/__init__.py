"""The only I/O: SSH, XenAPI, Ceph. Library exceptions stop here and become Shoal's own, the cause chained."""
