"""Which of Ceph's monitors the kernel is told of. libceph asks one of those, by chance, and waits 3 s for a dead one."""

import _socket  # see xapi
import errno
import select
import time

FIRST_WITHIN_S = 1.0
OTHERS_WITHIN_S = 0.2  # after the first: they are on one network
_NOT_YET = (errno.EINPROGRESS, errno.EWOULDBLOCK)


def choose(endpoints, own_address, in_quorum):
    """Of the `address:port` the one at this host's own address, where it takes part and listens; else all that listen.

    The kernel learns of the others from the first that it reaches (CEPH_MSG_MON_MAP, net/ceph/mon_client.c), and stays with that one
    for as long as it lives. Where it dies with its host, the client hears by chance, from another OSD, of the map that says so; else it asks
    another monitor after 30 s (CEPH_MONC_PING_TIMEOUT, include/linux/ceph/libceph.h). The own one dies with nobody else's host.
    """
    own = [each for each in endpoints if each in in_quorum and own_address and each.rpartition(":")[0] == own_address]
    return found_listening(own) or listening(endpoints)


def listening(endpoints):
    """Those that take a connection; all where none does, so that the kernel says what is wrong."""
    return found_listening(endpoints) or list(endpoints)


def found_listening(endpoints):
    """Those that take a connection, if any."""
    poll, pending, found = select.poll(), {}, []
    try:
        for endpoint in endpoints:
            try:
                connection, code = _begin(endpoint)
            except OSError:
                continue  # no such family, no descriptor: one that cannot be tried
            if code in _NOT_YET:
                pending[connection.fileno()] = (endpoint, connection)
                poll.register(connection, select.POLLOUT)
                continue
            connection.close()
            if code == 0:
                found.append(endpoint)
        _wait(poll, pending, found)
    finally:
        for _, connection in pending.values():
            connection.close()
    return [endpoint for endpoint in endpoints if endpoint in found]


def _begin(endpoint):
    """(connection, error number): under way, made or refused."""
    host, _, port = endpoint.rpartition(":")
    family = _socket.AF_INET6 if host.startswith("[") else _socket.AF_INET
    connection = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    try:
        return connection, connection.connect_ex((host.strip("[]"), int(port)))
    except BaseException:
        connection.close()
        raise


def _wait(poll, pending, found):
    left = len(pending)
    end = time.monotonic() + (OTHERS_WITHIN_S if found else FIRST_WITHIN_S)
    while left:
        left_s = end - time.monotonic()
        if left_s <= 0:
            return
        for number, _ in poll.poll(left_s * 1000):
            poll.unregister(number)
            left -= 1
            endpoint, connection = pending[number]
            if connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) == 0:
                found.append(endpoint)
                end = min(end, time.monotonic() + OTHERS_WITHIN_S)
