"""TCP connections of the kernel's own that never end: closed with something unsent, and with no timer to send it or give up.

Since Linux 6.9, and 6.1.84 and its like, tcp_close() stops the timers of a kernel's socket (commit 151c9c724d05). libceph
closes the one to a dead host's OSD so. What it had under way are pages of a guest, which it keeps: blkback waits for them
(gnttab_unmap_refs_sync), so that the guest's domain does not end, and its disk stays in use. Userland's orphans have a timer.
"""

import _socket  # see xapi
import errno
import os
import struct
import time
from typing import NamedTuple, Tuple

TABLES = (("/proc/net/tcp", _socket.AF_INET), ("/proc/net/tcp6", _socket.AF_INET6))
TIMEOUT_S = 2.0
LASTS_S = 2.0  # a busy connection may look so for a moment
AGAIN_S = 60.0  # after a try in vain
_CLOSING = {"04": 4, "09": 9, "0B": 11}  # FIN_WAIT1, LAST_ACK, CLOSING (include/net/tcp_states.h)
_NO_TIMER, _NO_INODE = "00", "0"
_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_DESTROY = 21  # SOCK_DESTROY, include/uapi/linux/sock_diag.h
_REQUEST_ACK = 0x1 | 0x4
_ERROR = 2  # NLMSG_ERROR
_ANY_COOKIE = b"\xff" * 8


class Socket(NamedTuple):
    """One line of /proc/net/tcp; equal to another while nothing has moved in it. Places are (address, port)."""

    family: int
    local: Tuple[bytes, int]
    remote: Tuple[bytes, int]
    state: int
    unsent: int  # bytes

    def __str__(self):
        return "%s to %s" % (_spell(self.family, self.local), _spell(self.family, self.remote))


class Stuck:
    """Ends those that have been found again and again for LASTS_S with nothing moved in them."""

    def __init__(self):
        self._since = {}

    def end_lasting(self):
        """What was done, in phrases. One that cannot be ended is tried again after a while."""
        now, said = time.monotonic(), []
        self._since = {each: self._since.get(each, now) for each in stuck()}
        for each, since in self._since.items():
            if now - since < LASTS_S:
                continue
            self._since[each] = now + AGAIN_S
            try:
                end(each)
                said.append("ended the dead connection %s, which kept a guest's pages" % str(each))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    said.append("the dead connection %s keeps a guest's pages, and cannot be ended: %s" % (each, error))
        return said


def stuck():
    """Those that look so now."""
    found = set()
    for path, family in TABLES:
        try:
            with open(path) as table:
                lines = table.readlines()[1:]
        except FileNotFoundError:
            continue  # no such family
        found.update(filter(None, (_read(family, line) for line in lines)))
    return found


def end(each):
    """Have the kernel drop it, and what it keeps. Raises OSError, ENOENT if it has gone meanwhile."""
    local, remote = each.local, each.remote
    ports = struct.pack(">HH", local[1], remote[1])
    identity = ports + local[0].ljust(16, b"\0") + remote[0].ljust(16, b"\0") + struct.pack("=I", 0) + _ANY_COOKIE
    body = struct.pack("=BBBxI", each.family, _socket.IPPROTO_TCP, 0, 1 << each.state) + identity
    message = struct.pack("=IHHII", 16 + len(body), _DESTROY, _REQUEST_ACK, 1, 0) + body
    kernel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_DGRAM, _SOCK_DIAG)
    try:
        kernel.settimeout(TIMEOUT_S)
        kernel.send(message)
        answer = kernel.recv(4096)
    finally:
        kernel.close()
    kind, code = struct.unpack_from("=4xH10xi", answer) if len(answer) >= 20 else (0, 0)
    if kind != _ERROR:
        raise OSError("the kernel answered a request to end a connection with %r" % answer[:32])
    if code:
        raise OSError(-code, os.strerror(-code))


def _read(family, line):
    words = line.split()
    if len(words) < 10:
        return None  # no line that is known: nothing to do with it
    state, queues, timer, inode = words[3], words[4], words[5], words[9]
    unsent = int(queues.partition(":")[0], 16)
    if state not in _CLOSING or timer.partition(":")[0] != _NO_TIMER or inode != _NO_INODE or not unsent:
        return None
    return Socket(family, _address(words[1]), _address(words[2]), _CLOSING[state], unsent)


def _address(text):
    """(bytes of the address in the network's order, port). The table has them as words of the machine's order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    return struct.pack("=%dI" % len(words), *words), int(port, 16)


def _spell(family, place):
    address, port = place
    text = _socket.inet_ntop(family, address)
    return "[%s]:%d" % (text, port) if family == _socket.AF_INET6 else "%s:%d" % (text, port)
