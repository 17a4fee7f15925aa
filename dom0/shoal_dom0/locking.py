"""One operation at a time that changes the list of an SR's disks on this host.

xapi runs all of those on the pool's master, so a lock of this host is enough: it keeps sr_scan from seeing a disk that
vdi_create has made and not yet told xapi of.
"""

import contextlib
import errno
import fcntl
import os
import time

from .errors import LockFailed

FOLDER = "/run/lock"


@contextlib.contextmanager
def hold(sr_uuid, deadline):
    """The kernel frees the lock when the process ends, however it ends."""
    path = os.path.join(FOLDER, "shoal-sr-" + sr_uuid)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while not _try(descriptor):
            if deadline.passed():
                raise LockFailed("another operation on SR %s has not ended in %.0f s" % (sr_uuid, deadline.seconds))
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
