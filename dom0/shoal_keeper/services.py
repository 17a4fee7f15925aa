"""What the volume services say of Ceph: this host's own is asked first, the others when it takes its time. Reads only.

A question is one connection, and bounded as a whole: a service that drips its answer is as one that hangs.
"""

import queue
import socket
import ssl
import threading

from shoal_dom0 import plain_json
from shoal_dom0.deadline import Deadline
from shoal_dom0.settings import own_first

from .state import Ceph, Check, Osd

FOLDER = "/etc/shoal/volumes/"
ANSWER_MAX_BYTES = 1 << 20
ASK_TIMEOUT_S = 6.0
CONNECT_TIMEOUT_S = 3.0
# What reading a value raises that is not what it should be.
OF_ANOTHER_FORM = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
HEAD_START_S = 1.0  # then the others are asked beside it: after a cold start each that is not up yet costs its time-out


class Silent(Exception):
    """No service gave an answer; the text says what each did instead."""


def look(endpoints):
    """Ceph as the first service that answers sees it."""
    try:
        return _read(ask(endpoints, "/v1/status")["ceph"])
    except Silent as error:
        return Ceph(str(error))
    except OF_ANOTHER_FORM as error:
        return Ceph("a volume service's answer has another form (%s)" % type(error).__name__)


def _read(ceph):
    members = ceph.get("members", {"monitors": (), "osds": ()})  # a service that is older than this keeper says nothing
    return Ceph(
        silence="",
        fsid=str(ceph["fsid"]),
        monitors=tuple(sorted(str(monitor) for monitor in ceph["monitors"])),
        health=str(ceph["health"]),
        checks=tuple(Check(str(check["code"]), str(check["message"])) for check in ceph["checks"]),
        monitors_away=tuple(sorted(str(mon["name"]) for mon in members["monitors"] if not mon["in_quorum"])),
        osds_down=tuple(sorted(Osd(int(osd["id"]), str(osd["host"])) for osd in members["osds"] if not osd["up"])),
    )


def pool_silence(endpoints, pool, namespace):
    """Why a pool does not answer, "" when it does: its objects are read, so its placement groups are active."""
    try:
        ask(endpoints, "/v1/pools/" + pool + ("?namespace=" + namespace if namespace else ""))
        return ""
    except Silent as error:
        return str(error)


def ask(endpoints, target):
    """The first answer that one of them gives. Those that are still at it end by themselves, in bounded time."""
    if not endpoints:
        raise Silent("no volume service is known")
    outcomes = queue.Queue()  # type: queue.Queue
    order, asked, failures = own_first(endpoints), 0, []
    for until, patience_s in ((1, HEAD_START_S), (len(order), None)):
        for endpoint in order[asked:until]:
            threading.Thread(target=_try, args=(endpoint, target, outcomes), daemon=True).start()
        asked = until
        try:
            while len(failures) < asked:
                endpoint, value, error = outcomes.get(timeout=patience_s)
                if error is None:
                    return value
                if not isinstance(error, (OSError, ValueError, RecursionError, MemoryError)):
                    raise error  # a bug
                failures.append("%s: %s" % (endpoint, _describe(error)))
        except queue.Empty:
            pass  # it is not waited for alone any longer
    raise Silent("; ".join(failures))


def _try(endpoint, target, outcomes):
    try:
        outcomes.put((endpoint, _exchange(endpoint, target, Deadline(ASK_TIMEOUT_S)), None))
    except Exception as error:  # whoever waits for the outcome must get one
        outcomes.put((endpoint, None, error))


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
    status, value = int(words[1]), plain_json.loads(body.decode())
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
