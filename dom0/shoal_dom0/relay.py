"""Asks a volume service by way of this host's relay (`shoal_relay`), whose TLS connections are open already.

The relay is a convenience: whatever is wrong with it, the caller asks the service directly, with the same request.
"""

import _socket  # see xapi

from . import log, plain_json, wire

SOCKET = "/run/shoal/relay"
PATIENCE_S = 2.0  # with a relay that says nothing: it gives a sign of life every half second, whatever the service does
SIGN = b"."
BODY_MAX_BYTES = wire.ANSWER_MAX_BYTES  # of a request, too: what is larger is rare and takes long anyway
HEAD_MAX_BYTES = 4096


class Relay:
    """For one call of xapi: once it has failed, it is not asked again."""

    def __init__(self):
        self._is_usable = True

    def ask(self, endpoint, request, deadline):
        """(HTTP status, body); None if the service has to be asked directly. Raises OSError if it did not answer in time."""
        if not self._is_usable or len(request[2]) > BODY_MAX_BYTES:
            return None
        try:
            told, body = _exchange(endpoint, request, deadline)
        except (OSError, ValueError, RecursionError) as error:
            if not isinstance(error, FileNotFoundError):  # it does not run
                log.info("relay: %s" % (getattr(error, "strerror", None) or error))
            self._is_usable = False
            told, body = {"in_time": not deadline.passed()}, b""
        if told.get("in_time") is False:  # a second try would be as long, and in vain
            raise _socket.timeout("no answer by way of the relay")
        return (told["status"], body) if isinstance(told.get("status"), int) else None


def _exchange(endpoint, request, deadline):
    """What the relay says, and the service's body."""
    method, target, body = request
    head = {"endpoint": endpoint, "method": method, "target": target, "length": len(body)}
    head["until"] = deadline.end  # by the clock of this host, which the relay has as well
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_patience_s(deadline))
        connection.connect(SOCKET)
        # Only then: what it was told while it stood still, it might do when others have done it long since.
        if connection.recv(1) != SIGN:
            raise ValueError("the relay has no time")
        connection.sendall(plain_json.dumps(head).encode() + b"\n" + body)
        told, rest = _read_head(connection, deadline)
        return told, wire.read_exactly(connection, rest, told.get("length", 0), deadline, BODY_MAX_BYTES)
    finally:
        connection.close()


def _read_head(connection, deadline):
    """What the relay says once its signs of life are over, and what was read beyond it."""
    data = b""
    while b"\n" not in data:
        if deadline.passed() or len(data) > HEAD_MAX_BYTES:
            raise ValueError("the relay does not answer")
        connection.settimeout(_patience_s(deadline))
        part = connection.recv(1 << 16)
        if not part:
            raise ValueError("the relay has ended")
        data = (data + part).lstrip(SIGN)
    line, _, rest = data.partition(b"\n")
    told = plain_json.loads(line.decode())
    if not isinstance(told, dict) or not isinstance(told.get("length", 0), int):
        raise ValueError("the relay's answer is not understood")
    return told, rest


def _patience_s(deadline):
    return min(PATIENCE_S, deadline.remaining())
