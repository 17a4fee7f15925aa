"""A tapdisk in front of a mapped device: started, found again, refreshed and ended. It knows nothing of Ceph.

A tapdisk is found by what it carries itself: the image that it serves, and the disk's name in its environment. So a
driver that was killed anywhere leaves nothing that the next call does not find.
"""

import collections
import errno
import os
import re
import select
import signal
import time

from . import log, tapctl
from .datapath import make_link, remove_link
from .deadline import Deadline
from .errors import SRError, VDIInUse, VDIUnavailable

CONTROL = "/run/blktap-control"
BLKTAP_MODULE = "/sys/class/misc/blktap!control"
BLKTAP_DEVICES = "/dev/xen/blktap-2"
PROC = "/proc"
MARK = "SHOAL_DISK"
BUSY_TIMEOUT_S = 8.0
BUSY_PAUSE_S = 0.2
END_TIMEOUT_S = 2.0
REOPEN_TIMEOUT_S = 3600.0
LAUNCH_RESERVE_S = 5.0  # of a call's time, to undo a launch that hangs

_DEAD, _CLOSED, _PAUSED = 0x1, 0x2, 0x20
_PAUSE = 0x10 | _PAUSED  # asked for, or done
_SOCKET = re.compile(r"nbd([0-9]{1,9})\.([0-9]{1,9})\Z")
_NUMBER = re.compile(r"(?:tapdev|tapdisk-)([0-9]{1,6})\Z")

# `device` is empty where tapdisk has none: without the kernel's module blktap.
Tapdisk = collections.namedtuple("Tapdisk", "pid minor device")


def has_devices():
    """Older hosts have a kernel module that gives each tapdisk a block device; on newer ones it has its socket only."""
    return os.path.exists(BLKTAP_MODULE)


def nbd_link(disk):
    """Where a link to the disk's NBD socket is, made when the tapdisk starts. `disk` is SR/VDI."""
    return os.path.join(CONTROL, "nbd", disk)


def start(disk, device, writable, deadline):
    """A tapdisk that serves `device`: the one that is there, or a new one. Others that this disk has left are ended."""
    image, serving, freed = "aio:" + device, None, set()
    for row in _own(disk, [image], deadline):
        if serving is None and row.args == image and not row.state & (_DEAD | _CLOSED):
            if row.state & _PAUSE:
                _wake(row, image, deadline)
            serving = row
        else:
            _end(disk, row, deadline)
            freed.add(row.minor)
    if serving is None:
        _forget_dead(disk, freed, deadline)
        serving = _launch(disk, image, writable, deadline)
    _link(disk, serving.pid, serving.minor)
    device = os.path.join(BLKTAP_DEVICES, "tapdev%d" % serving.minor) if has_devices() else ""
    return Tapdisk(serving.pid, serving.minor, device)


def stop(disk, devices, deadline):
    """End every tapdisk of the disk, and what a dead one has left."""
    freed = set()
    for row in _own(disk, ["aio:" + device for device in devices], deadline):
        _end(disk, row, deadline)
        freed.add(row.minor)
    _forget_dead(disk, freed, deadline)
    remove_link(nbd_link(disk))


def refresh(disk, device, deadline):
    """Have the disk's tapdisk open its device anew: it asks for the size only then."""
    image = "aio:" + device
    for row in _own(disk, [image], deadline):
        if row.args == image:
            _reopen_apart(row, image, deadline)


def _own(disk, images, deadline):
    """The disk's tapdisks: those that carry its name, the one that its link names, and any that serves its device.

    One that is paused has closed its device: what it then says it serves may have become another disk's since.
    """
    named, found = _named(disk), []
    for row in tapctl.rows(deadline):
        serves = row.args in images and not row.state & (_DEAD | _CLOSED | _PAUSED)
        if row.pid is not None and (serves or (row.pid, row.minor) == named or _marked(row.pid, disk)):
            found.append(row)
    return found


def _named(disk):
    """(pid, minor) that the disk's link names, or None."""
    try:
        match = _SOCKET.match(os.path.basename(os.readlink(nbd_link(disk))))
    except OSError:
        return None
    return match and (int(match.group(1)), int(match.group(2)))


def _link(disk, pid, minor):
    make_link(nbd_link(disk), os.path.join(CONTROL, "nbd%d.%d" % (pid, minor)))


def _marked(pid, disk):
    try:
        with open(os.path.join(PROC, str(pid), "environ"), "rb") as file:
            return ("%s=%s" % (MARK, disk)).encode() in file.read().split(b"\0")
    except OSError:
        return False  # it has ended


def _launch(disk, image, writable, deadline):
    """A new tapdisk. Its link is made as soon as it has a number, so that the number is not lost if we are killed."""
    patience = deadline.sooner(LAUNCH_RESERVE_S)
    minor = _allocate(patience)
    pid = 0
    try:
        _link(disk, pid, minor)
        pid = _spawn(disk, patience)
        ids = ["-p", pid, "-m", minor]
        tapctl.run("attach", ids, patience)
        tapctl.run("open", ids + ["-a", image] + ([] if writable else ["-R"]), patience)
        if not has_devices() and not os.path.exists(os.path.join(CONTROL, "nbd%d.%d" % (pid, minor))):
            raise VDIUnavailable("tapdisk %d serves %s and has no NBD socket" % (pid, image))
    except SRError as error:
        _undo(disk, image, deadline)
        raise VDIUnavailable("no tapdisk for %s: %s" % (image, error.reason))
    return tapctl.Row(pid, minor, 0, image)


def _allocate(deadline):
    printed = tapctl.run("allocate", [], deadline).strip()
    match = _NUMBER.match(os.path.basename(printed))
    if not match or os.path.dirname(printed) not in (BLKTAP_DEVICES, os.path.join(CONTROL, "tapdisk")):
        raise SRError("tap-ctl allocate printed what is not understood: %r" % printed[:80])
    return int(match.group(1))


def _spawn(disk, deadline):
    printed = tapctl.run("spawn", [], deadline, {MARK: disk}).strip()
    if not printed.isdigit() or not 1 < int(printed) < 1 << 30:
        raise SRError("tap-ctl spawn printed what is not understood: %r" % printed[:80])
    return int(printed)


def _undo(disk, image, deadline):
    """A launch that failed leaves nothing. When this fails as well, the next call finds what remains."""
    try:
        stop(disk, [image.partition(":")[2]], deadline)
    except SRError as error:
        log.error("after a tapdisk that did not start: %s" % error.reason)


def _end(disk, row, deadline):
    """Close, detach, free; each may have been done by a call that was killed then."""
    if row.minor is None:
        _terminate(row.pid, disk)
        return
    ids = ["-p", row.pid, "-m", row.minor]
    try:
        if row.args and not row.state & _CLOSED:
            _when_idle("close", ids, deadline)
        tapctl.run("detach", ids, deadline)
    except tapctl.Failed:
        if _alive(row.pid):
            raise
    _free(row.minor, deadline)


def _forget_dead(disk, freed, deadline):
    """A tapdisk that died has left its number, which only the disk's link still names, and its socket."""
    named = _named(disk)
    if named is None or named[1] in freed or _alive(named[0]):
        return
    found = tapctl.rows(deadline)
    if any(row.minor == named[1] and row.pid is not None for row in found):
        return  # the number has become another's
    if not has_devices() or any(row.minor == named[1] for row in found):
        _free(named[1], deadline)
    remove_link(os.path.join(CONTROL, "nbd%d.%d" % named))


def _reopen_apart(row, image, deadline):
    """In a process that goes on when we give up or are killed: a disk that stays paused hangs its VM."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _reopen_and_exit(row, image, writer)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], deadline.remaining())
        answer = os.read(reader, 1000) if ready else None
    finally:
        os.close(reader)
    if answer is None:
        reason = "tapdisk %d has not opened %s anew within %.0f s: requests of its guest have not come back. It goes on"
        raise VDIUnavailable(reason % (row.pid, image, deadline.seconds))
    os.waitpid(child, 0)
    if answer != b".":
        raise VDIUnavailable("tapdisk %d: %s" % (row.pid, answer.decode("utf-8", "replace") or "reopening it failed"))


def _reopen_and_exit(row, image, writer):
    """In the child. It lets go of our stdout: xapi would wait for it even after we have answered."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        try:
            _reopen(row, image, Deadline(REOPEN_TIMEOUT_S))
            answer = b"."
        except SRError as error:
            log.error("reopening %s: %s" % (image, error.reason))
            answer = error.reason.encode()[:1000]
        os.write(writer, answer)
    finally:
        os._exit(0)


def _reopen(row, image, deadline):
    """A pause that has not ended in time still comes when the guest's requests are through; then it is undone."""
    try:
        tapctl.run("pause", ["-p", row.pid, "-m", row.minor], deadline)
    except SRError:
        if not _wake(row, image, deadline):
            raise
    else:
        _wake(row, image, deadline)


def _wake(row, image, deadline):
    """Unpause, with the image that it shall open. Whether it was paused: one that is to pause yet is waited for."""
    while True:
        try:
            tapctl.run("unpause", ["-p", row.pid, "-m", row.minor, "-a", image], deadline)
            return True
        except SRError:
            found = [r for r in tapctl.rows(deadline) if (r.pid, r.minor) == (row.pid, row.minor)]
            if not found or not found[0].state & _PAUSE:
                return False
            if deadline.passed():
                raise
        time.sleep(BUSY_PAUSE_S)


def _free(minor, deadline):
    try:
        _when_idle("free", ["-m", minor], deadline)
    except tapctl.Failed as failure:
        if failure.number != errno.ENOENT:
            raise


def _when_idle(verb, options, deadline):
    """Never forced: what a guest has written last may still be on its way."""
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            return tapctl.run(verb, options, deadline)
        except tapctl.Failed as failure:
            if failure.number not in (errno.EBUSY, errno.EAGAIN):
                raise
            if deadline.passed() or time.monotonic() > end:
                raise VDIInUse("the disk's tapdisk is still in use: shut down what uses it (%s)" % failure.reason)
        time.sleep(BUSY_PAUSE_S)


def _terminate(pid, disk):
    """End a tapdisk that serves nothing: its driver was killed after the spawn."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _marked(pid, disk):
            _signal(pid, number)
        end = time.monotonic() + END_TIMEOUT_S
        while _alive(pid) and time.monotonic() < end:
            time.sleep(0.02)
    if _alive(pid):
        raise VDIUnavailable("the idle tapdisk %d does not end" % pid)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended by itself


def _alive(pid):
    """Whether there is such a process that is not a zombie. Its name may hold anything but ends at the last bracket."""
    try:
        with open(os.path.join(PROC, str(pid), "stat"), "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except (OSError, IndexError):
        return False
