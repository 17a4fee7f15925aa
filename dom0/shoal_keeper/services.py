"""What the volume services say of Ceph: this host's own is asked first, then the others. Reads only.

A question is one connection, and bounded as a whole: a service that drips its answer is as one that hangs.
"""

import json
import socket
import ssl

from shoal_dom0.deadline import Deadline
from shoal_dom0.settings import own_first

from .state import Ceph

FOLDER = "/etc/shoal/volumes/"
ANSWER_MAX_BYTES = 1 << 20
ASK_TIMEOUT_S = 6.0
CONNECT_TIMEOUT_S = 3.0


class Silent(Exception):
    """No service gave an answer; the text says what each did instead."""


def look(endpoints):
    """Ceph as the first service that answers sees it."""
    try:
        ceph = ask(endpoints, "/v1/status")["ceph"]
        checks = tuple(str(check["code"]) for check in ceph["checks"])
        monitors = tuple(sorted(str(monitor) for monitor in ceph["monitors"]))
        return Ceph("", str(ceph["fsid"]), monitors, str(ceph["health"]), checks)
    except Silent as error:
        return Ceph(str(error))
    except (KeyError, TypeError) as error:
        return Ceph("a volume service's answer lacks %s" % error)


def pool_silence(endpoints, pool, namespace):
    """Why a pool does not answer, "" when it does: its objects are read, so its placement groups are active."""
    try:
        ask(endpoints, "/v1/pools/" + pool + ("?namespace=" + namespace if namespace else ""))
        return ""
    except Silent as error:
        return str(error)


def ask(endpoints, target):
    if not endpoints:
        raise Silent("no volume service is known")
    failures = []
    for endpoint in own_first(endpoints):
        try:
            return _exchange(endpoint, target, Deadline(ASK_TIMEOUT_S))
        except (OSError, ValueError, RecursionError) as error:
            failures.append("%s: %s" % (endpoint, _describe(error)))
    raise Silent("; ".join(failures))


def _exchange(endpoint, target, deadline):
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    plain = socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S)
    try:
        plain.settimeout(deadline.remaining())
        with _tls().wrap_socket(plain, server_hostname=host) as connection:
            connection.sendall(("GET %s HTTP/1.0\r\nHost: shoal\r\n\r\n" % target).encode())
            answer = _read_all(connection, deadline)
    finally:
        plain.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    status, value = int(words[1]), json.loads(body.decode())
    if status == 200 and isinstance(value, dict):
        return value
    error = value.get("error") if isinstance(value, dict) else None
    raise ValueError(str(error.get("message")) if isinstance(error, dict) else "HTTP status %d" % status)


def _read_all(connection, deadline):
    """To the end: HTTP/1.0 has no other. One that was cut off is no JSON."""
    answer = b""
    while len(answer) < ANSWER_MAX_BYTES:
        if deadline.passed():
            raise socket.timeout()
        connection.settimeout(deadline.remaining())
        part = connection.recv(1 << 16)
        if not part:
            return answer
        answer += part
    raise ValueError("the answer is too long")


def _tls():
    """Made for each exchange: the certificates may have been renewed since."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    context.load_verify_locations(FOLDER + "ca.pem")
    context.load_cert_chain(FOLDER + "client.pem", FOLDER + "client.key")
    return context


def _describe(error):
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
