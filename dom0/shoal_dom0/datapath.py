"""The kernel's RBD client: maps, what is mapped, unmaps. Nothing but /sys/bus/rbd and the links to devices.

What can block in the kernel a child does, and this process waits no longer than it may.
"""

import errno
import os
import select
import time

from . import log
from .deadline import Deadline
from .errors import InvalidSecret, SRError, SRUnavailable, VDIInUse, VDIUnavailable
from .names import is_uuid

BUS = "/sys/bus/rbd"
BLOCK = "/sys/block"
DEVICES = "/dev"
OS_RELEASE = "/proc/sys/kernel/osrelease"
LINKS = "/dev/sm/backend"  # devtmpfs: gone after a reboot, as the maps are
MOUNT_TIMEOUT_S = 8
_FRESH = ".new"  # of a link that is about to take its place
NODE_TIMEOUT_S = 5.0
BUSY_PAUSE_S = 0.2
BUSY_TIMEOUT_S = 8.0  # udev and a guest that is going let a device go within moments
REAP_TIMEOUT_S = 0.5
MAP_RESERVE_S = 3.0  # of a call's time, to undo a map that hangs
MAP_TAKES_S = MOUNT_TIMEOUT_S + MAP_RESERVE_S  # at most, but for what Ceph does after the mount
READ_BYTES = 4096
READ_TIMEOUT_S = 8.0
NO_SNAP = "-"
NAMESPACES_SINCE = (4, 19)  # of Linux: both `_pool_ns` and clones there
# What the kernel says to an unmap while it still shows the device.
_NOT_YET = {
    errno.EBUSY: "%s is still open in this host: shut down what uses it",
    errno.ENOENT: "the kernel has not ended mapping %s: it waits for Ceph (shoal status)",
    errno.EINPROGRESS: "the kernel has not ended unmapping %s: it waits for Ceph (shoal status)",
}

_WORD = frozenset(map(chr, range(33, 127))) - {","}  # ASCII without space, comma and control characters
_WORD_MAX = 512


class Map:
    """One image or snapshot that this host's kernel has mapped."""

    def __init__(self, number, client, device, read_only, image_id):
        self.number = number
        self.client = client
        self.device = device
        self.read_only = read_only
        self.image_id = image_id


class MapRefused(Exception):
    """The kernel's error number for a map that it would not make."""

    def __init__(self, number):
        super().__init__(os.strerror(number))
        self.number = number


def find(pool, namespace, image, snap=NO_SNAP, image_id=""):
    """All maps of an image or of its snapshot on this host; there should be at most one.

    Without `image` by the snapshot's name and the image's id alone: an image keeps its id when it is renamed.
    """
    found = []
    for number in sorted(_numbers()):
        folder = os.path.join(BUS, "devices", number)
        try:
            shown_id = _read(folder, "image_id", "")
            place = (_read(folder, "pool"), _read(folder, "pool_ns", ""), _read(folder, "current_snap", NO_SNAP))
            same = place == (pool, namespace, snap) and (not image or _read(folder, "name") == image)
            if same and (not image_id or shown_id in ("", image_id)):
                client = _client_number(folder)
                read_only = _read(os.path.join(BLOCK, "rbd" + number), "ro", "0")
                device = os.path.join(DEVICES, "rbd" + number)
                found.append(Map(number, client, device, read_only == "1", shown_id))
        except FileNotFoundError:
            continue  # unmapped while we looked
    return found


def mapped(settings):
    """The uuids of the SR's disks and snapshots that are mapped here. The cluster's id tells pools of one name apart."""
    found = set()
    for number in _numbers():
        folder = os.path.join(BUS, "devices", number)
        try:
            place = (_read(folder, "pool"), _read(folder, "pool_ns", ""), _read(folder, "cluster_fsid", ""))
            names = (_read(folder, "name"), _read(folder, "current_snap", NO_SNAP))
        except FileNotFoundError:
            continue  # unmapped while we looked
        if settings.fsid and place == (settings.pool, settings.namespace, settings.fsid):
            image, snap = names
            prefix, name = ("vdi-", image) if snap == NO_SNAP else ("snap-", snap)
            if name.startswith(prefix) and is_uuid(name[len(prefix) :]):
                found.add(name[len(prefix) :])
    return found


def clients():
    """The ids of all Ceph clients that this host's kernel is, for whatever image and pool."""
    found = set()
    for number in _numbers():
        try:
            found.add(_client_number(os.path.join(BUS, "devices", number)))
        except FileNotFoundError:
            continue
    return found


def map_image(settings, secret, image, writable, deadline, snap=NO_SNAP):
    """The new Map. A writable one is exclusive: the kernel keeps the image's lock and gives it to nobody.

    It is told of the settings' monitors, as they are. `noshare`: each disk is a Ceph client of its own, so that fencing one disk of a host leaves its others alone.
    """
    _check_words(settings, secret, image, snap)
    _load_module(deadline)
    options = ["name=" + settings.user, "secret=" + secret, "noshare", "mount_timeout=%d" % MOUNT_TIMEOUT_S]
    options.append("exclusive" if writable else "ro")
    if settings.namespace:
        options.append("_pool_ns=" + settings.namespace)
    line = " ".join([",".join(settings.monitors), ",".join(options), settings.pool, image, snap])
    patience = deadline.sooner(MAP_RESERVE_S)
    code = add(line, patience)
    if code is None:
        left = _undo_late_map(settings, image, snap, deadline)
        message = "mapping %s did not end within %.0f s; of Ceph's monitors these were named to the kernel: %s%s"
        raise VDIUnavailable(message % (image, patience.seconds, ", ".join(settings.monitors), left))
    if code:
        raise MapRefused(code)
    maps = find(settings.pool, settings.namespace, image, snap)
    if not maps:
        raise SRError("the kernel mapped %s and shows no device for it" % image)
    wait_for_node(maps[-1].device, deadline)
    return maps[-1]


def _check_words(settings, secret, image, snap):
    """The kernel takes one line of words and options: a space or comma within one would be the start of another."""
    if not _is_word(secret):
        raise InvalidSecret("the CephX key holds what no key holds: a space, a comma or a character that is not ASCII")
    for word in settings.monitors + [settings.user, settings.pool, settings.namespace or "-", image, snap]:
        if not _is_word(word):
            raise SRError("%r cannot be part of a map request to the kernel" % word[:60])


def _is_word(text):
    return 0 < len(text) <= _WORD_MAX and _WORD.issuperset(text)


def reads(found, deadline):
    """Whether a map still reads. One whose client Ceph has shut out gives an I/O error for ever."""
    timeout = Deadline(min(READ_TIMEOUT_S, deadline.remaining()))
    code = _bounded(lambda: _read_start(found.device), timeout)
    if code is None:
        raise VDIUnavailable("reading %s did not end within %.0f s" % (found.device, timeout.seconds))
    return code == 0


def add(line, deadline):
    """Error number of a map request to the kernel (0: mapped), or None when it has not ended in time."""
    return _write_bounded(_attribute("add"), line.encode(), deadline)


def unmap(found, deadline):
    """Remove a map. A device that somebody has open is not forced: that would lose what was written last.

    The kernel shows a device before it has ended adding it, and says until then that there is none to remove.
    """
    end, dead = time.monotonic() + BUSY_TIMEOUT_S, None
    while _is_shown(found):
        code = _write_bounded(_attribute("remove"), found.number.encode(), deadline)
        if code == 0:
            return
        if code is None:
            raise VDIUnavailable("unmapping %s did not end within %.0f s" % (found.device, deadline.seconds))
        if code not in _NOT_YET:
            raise SRError("unmapping %s: %s" % (found.device, os.strerror(code)))
        if deadline.passed() or time.monotonic() > end:
            raise VDIInUse(_NOT_YET[code] % found.device)
        dead = dead or _dead_connections()
        for what in dead.end_lasting():
            log.info(what)
        time.sleep(BUSY_PAUSE_S)


def _dead_connections():
    """What may hold a device of a guest that is gone. Seldom needed, and so imported here."""
    from . import sockets

    return sockets.Stuck()


def _is_shown(found):
    """Whether it is still there: its number may have become another map's, which is another client."""
    try:
        return _client_number(os.path.join(BUS, "devices", found.number)) == found.client
    except FileNotFoundError:
        return False


def link_path(sr_uuid, vdi_uuid):
    return os.path.join(LINKS, sr_uuid, vdi_uuid)


def make_link(path, device):
    """Point `path` at `device`, whatever it was before, in one step."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = path + _FRESH
    _unlink(fresh)  # what a killed call has left
    os.symlink(device, fresh)
    os.rename(fresh, path)


def remove_link(path):
    _unlink(path)
    _unlink(path + _FRESH)


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def linked(sr_uuid):
    """The VDIs of an SR that have a link here."""
    try:
        return sorted(name for name in os.listdir(os.path.join(LINKS, sr_uuid)) if "." not in name)
    except FileNotFoundError:
        return []


def _numbers():
    try:
        return [name for name in os.listdir(os.path.join(BUS, "devices")) if name.isdigit()]
    except FileNotFoundError:
        return []


def _client_number(folder):
    return _read(folder, "client_id").replace("client", "").strip(".")


def _read(folder, name, otherwise=FileNotFoundError):
    """An attribute's text. Older kernels lack some: `otherwise` is then the answer, if given."""
    try:
        with open(os.path.join(folder, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        if otherwise is FileNotFoundError:
            raise
        return otherwise


def _attribute(verb):
    """`add` or `remove`, in the form that this kernel has."""
    single = os.path.join(BUS, verb + "_single_major")
    return single if os.path.exists(single) else os.path.join(BUS, verb)


def _load_module(deadline):
    if os.path.exists(os.path.join(BUS, "add")):
        return
    from . import child  # which brings much along, and is for once in a boot

    try:
        status, _, complaint = child.run(["/sbin/modprobe", "rbd"], deadline.remaining())
    except TimeoutError:
        raise SRError("modprobe rbd did not end")
    if status:
        raise SRError("this host's kernel has no rbd: %s" % complaint.decode("utf-8", "replace").strip())


def check_kernel(deadline):
    """Fail now rather than at the first disk when this kernel cannot map at all."""
    _load_module(deadline)


def check_namespaces():
    """Fail now rather than at the first disk when this kernel cannot map in a namespace: it would say EINVAL, no more."""
    release = _read(*os.path.split(OS_RELEASE))
    if tuple(int(part.partition("-")[0]) for part in release.split(".")[:2]) < NAMESPACES_SINCE:
        raise SRUnavailable("this host has kernel %s, and an SR in a namespace needs Linux 4.19: update the host" % release)


def _write_bounded(path, data, deadline):
    """Error number of writing `data` to `path` (0: written), or None when it has not ended in time."""
    return _bounded(lambda: _write(path, data), deadline)


def _bounded(work, deadline):
    """Error number of `work`, done by a child (0: it succeeded), or None when it has not ended in time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work_and_exit(work, writer)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], deadline.remaining())
        answer = os.read(reader, 16) if ready else b""
    finally:
        os.close(reader)
    if answer:
        os.waitpid(child, 0)
        return int(answer)
    import signal  # which brings much along, and is for once in a long while

    os.kill(child, signal.SIGKILL)
    _reap(child)
    return None


def _work_and_exit(work, writer):
    """In the child. It lets go of our stdout first: xapi would wait for it even after we have answered."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        code = 0
        try:
            work()
        except OSError as error:
            code = error.errno
        os.write(writer, b"%d" % code)
    finally:
        os._exit(0)


def _write(path, data):
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, data)


def _read_start(path):
    """The first bytes, from the device itself: what the page cache still has proves nothing."""
    import mmap

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.open(path, os.O_RDONLY)  # not a device
    os.readv(descriptor, [mmap.mmap(-1, READ_BYTES)])


def _reap(child):
    """Collect a killed child if it dies soon. One stuck in the kernel is left to init."""
    end = time.monotonic() + REAP_TIMEOUT_S
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.02)


def _undo_late_map(settings, image, snap, deadline):
    """A map that was made in the very moment we gave up belongs to nobody. Why it is still there, if it is."""
    try:
        for found in find(settings.pool, settings.namespace, image, snap):
            unmap(found, deadline)
    except SRError as error:
        return "; " + error.reason
    return ""


def wait_for_node(device, deadline):
    end = time.monotonic() + min(NODE_TIMEOUT_S, deadline.remaining())
    while not os.path.exists(device):
        if time.monotonic() > end:
            raise SRError("%s did not appear" % device)
        time.sleep(0.02)
