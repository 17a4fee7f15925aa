"""The volume service: what the `rbd` driver in dom0 asks of Ceph, over HTTPS.

It runs in every storage VM from the Ceph image itself (Python 3.9 or later, librados and librbd, else only the
standard library). It keeps no state: Ceph is the truth, and ids come from the caller, so any call may be repeated at
any service.
It must not know of XenAPI, nor import anything of `shoal`.
"""

VERSION = "1"
