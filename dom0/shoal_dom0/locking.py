"""One operation at a time that changes the list of an SR's disks on this host.

xapi runs all of those on the pool's master, so a lock of this host is enough: it keeps sr_scan from seeing a disk that
vdi_create has made and not yet told xapi of.
"""

import errno
import fcntl
import os
import time

from .errors import LockFailed

FOLDER = "/run/lock"


def hold(sr_uuid, deadline):
    """For a `with`. The kernel frees the lock when the process ends, however it ends."""
    return _Lock(sr_uuid, deadline)


class _Lock:
    def __init__(self, sr_uuid, deadline):
        self._sr_uuid = sr_uuid
        self._deadline = deadline

    def __enter__(self):
        path = os.path.join(FOLDER, "shoal-sr-" + self._sr_uuid)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._wait()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __exit__(self, *_):
        os.close(self._descriptor)

    def _wait(self):
        while not _try(self._descriptor):
            if self._deadline.passed():
                reason = "another operation on SR %s has not ended in %.0f s"
                raise LockFailed(reason % (self._sr_uuid, self._deadline.seconds))
            time.sleep(0.05)


def _try(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
