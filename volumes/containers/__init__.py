"""The container service: tells one dom0 which of Ceph's containers run on its storage VM, and starts and stops them.

It runs on the storage VM itself, beside the volume service and not in it: what can reach Docker is as good as root
there, and what parses the driver's requests shall not be. It shares that service's HTTPS server, settings and
certificates, and no more.
"""

PORT = 7444
