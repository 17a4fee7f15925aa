"""One operation at a time that changes the list of an SR's disks on this host.

xapi scans, makes and deletes disks on the pool's master only, so a lock of this host is enough: it keeps sr_scan from
seeing a disk that vdi_create has made and not yet told xapi of. What a member does beside a scan (vdi_epoch_begin,
vdi_introduce, vdi_revert) does it no harm: the service's list has every disk also while an image takes another's place,
and a record that is there already is as good as a new one.
"""

import errno
import fcntl
import os
import time

from .errors import LockFailed

FOLDER = "/run/lock"


def hold(name, deadline, failed=LockFailed):
    """For a `with`. The kernel frees the lock when the process ends, however it ends. `failed` makes the error of a lock
    that another keeps until the deadline.
    """
    return _Lock(name, deadline, failed)


class _Lock:
    def __init__(self, name, deadline, failed):
        self._name = name
        self._deadline = deadline
        self._failed = failed

    def __enter__(self):
        path = os.path.join(FOLDER, "shoal-sr-" + self._name)
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
                raise self._failed(reason % (self._name, self._deadline.seconds))
            time.sleep(0.05)


def _try(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
