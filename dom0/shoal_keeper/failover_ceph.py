"""Ceph as failover needs it, by way of the volume services: who takes part, who holds disks, fences, locks.

Connections are kept: a look every few seconds costs no handshake. Every question is bounded as a whole.
"""

import json
import re
import socket
import time

from shoal_dom0 import plain_json
from shoal_dom0.connection import Connection
from shoal_dom0.deadline import Deadline
from shoal_dom0.errors import SRError
from shoal_dom0.settings import own_first

from . import services
from .services import Silent

ASK_TIMEOUT_S = 8.0  # a service without quorum takes 5 s to say so
WORK_TIMEOUT_S = 20.0
LOCK_S = 30
ANSWER_MAX_BYTES = 4 << 20  # a disk in use takes 120 bytes, a fenced client 30
FENCES_AT_ONCE = 64
SILENT_S = 20.0  # so long a pool is left alone that did not answer while others did: each look would wait for it
_PROTOCOL = re.compile(r"^(v1|v2|any):")  # Ceph writes it before some addresses


class Services:
    """The volume services of all of Shoal's SRs; the one that has answered last is asked first."""

    def __init__(self):
        self._connections = []
        self._silent_until = {}  # place → time

    def use(self, endpoints):
        known = {connection.endpoint: connection for connection in self._connections}
        if set(known) != set(endpoints):
            self._connections = [known.get(each) or _connect(each) for each in own_first(endpoints)]

    def members(self):
        """(machines with a monitor in quorum, machines with an OSD up, all machines)."""
        return self._ask("GET", "/v1/members", None, ASK_TIMEOUT_S, _members)

    def owners(self, places):
        """Of the locks of all images there: (place, image, number of the client, its address) each; and the silent places.

        One pool may lack OSDs that others do without. Raises Silent if none answers.
        """
        found, silent, failure = [], set(), None
        for place in sorted(places):
            if time.monotonic() < self._silent_until.get(place, 0.0):
                silent.add(place)
                continue
            try:
                found += [(place,) + each for each in self._ask("GET", _path(place, "holders"), None, WORK_TIMEOUT_S, _clients)]
                self._silent_until.pop(place, None)
            except Silent as error:
                failure = error
                silent.add(place)
                self._silent_until[place] = time.monotonic() + SILENT_S
        if failure is not None and len(silent) == len(places):
            self._silent_until.clear()  # it is Ceph that is away
            raise failure
        return found, frozenset(silent)

    def living_owners(self, place, volume):
        """Addresses of the clients that own a volume's lock and watch it."""
        return self._ask("GET", _path(place, "volumes/%s/holders" % volume), None, WORK_TIMEOUT_S, _living)

    def fenced(self, place):
        return self._ask("GET", _path(place, "fences"), None, ASK_TIMEOUT_S, lambda answer: frozenset(answer["addresses"]))

    def fence(self, place, addresses):
        every = sorted(addresses)
        for first in range(0, len(every), FENCES_AT_ONCE):
            some = every[first : first + FENCES_AT_ONCE]
            self._ask("POST", _path(place, "fences"), {"addresses": some}, WORK_TIMEOUT_S, dict)

    def take_lock(self, place, name, owner, ttl_s=LOCK_S):
        """Take or renew it; who has it."""
        return self._ask("PUT", _path(place, "locks/" + name), {"owner": owner, "ttl_s": ttl_s}, ASK_TIMEOUT_S, _owner)

    def lock_owner(self, place, name):
        """Who has it, None for nobody. Takes it from nobody, either."""
        return self._ask("GET", _path(place, "locks/" + name), None, ASK_TIMEOUT_S, _owner)

    def release_lock(self, place, name, owner):
        """Whoever has it by then: it is no more this owner's."""
        self._ask("DELETE", _path(place, "locks/" + name), {"owner": owner}, ASK_TIMEOUT_S, dict)

    def hold_noout(self, place, machine, ttl_s):
        """Whether the machine's OSDs stay in the cluster for so long because of this."""
        path, body = _path(place, "noout/" + machine), {"ttl_s": ttl_s}
        return self._ask("PUT", path, body, WORK_TIMEOUT_S, lambda answer: bool(answer["held"]))

    def release_noout(self, place, machine):
        """Whether it was held, and is no more."""
        path = _path(place, "noout/" + machine)
        return self._ask("DELETE", path, None, WORK_TIMEOUT_S, lambda answer: bool(answer["released"]))

    def _ask(self, method, path, body, timeout_s, read):
        """What `read` makes of the answer; of a lock that is held, of who holds it. An answer of another form is none."""
        if not self._connections:
            raise Silent("no volume service is known")
        data = b"" if body is None else json.dumps(body).encode()
        deadline, failures = Deadline(timeout_s), []
        for number, connection in enumerate(list(self._connections)):
            try:
                share = deadline.share(len(self._connections) - number)
                value = read(_understand(*connection.ask(method, path, data, share)))
            except (OSError, SRError, RecursionError, MemoryError) + services.OF_ANOTHER_FORM as error:
                connection.close()
                failures.append("%s: %s" % (connection.endpoint, _describe(error)))
                continue
            self._connections.sort(key=lambda other: other is not connection)
            return value
        raise Silent("; ".join(failures))


def _members(answer):
    monitors, osds = answer["monitors"], answer["osds"]
    in_quorum = frozenset(mon["name"] for mon in monitors if mon["in_quorum"])
    up = frozenset(osd["host"] for osd in osds if osd["up"])
    return in_quorum, up, frozenset(mon["name"] for mon in monitors) | frozenset(osd["host"] for osd in osds)


def _clients(answer):
    return [(each["image"], each["client"].replace("client.", ""), each["address"]) for each in answer["holders"]]


def _living(answer):
    return {_PROTOCOL.sub("", each["address"]) for each in answer["locks"] if each["alive"]}


def _owner(answer):
    return answer["owner"]


def _connect(endpoint):
    return Connection(endpoint, services.FOLDER, ANSWER_MAX_BYTES)


def _path(place, rest):
    pool, namespace = place
    return "/v1/pools/%s/%s" % (pool, rest) + ("?namespace=" + namespace if namespace else "")


def _understand(status, answer):
    value = plain_json.loads(answer.decode())
    if status == 200 and isinstance(value, dict):
        return value
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        raise ValueError("HTTP status %d" % status)
    if error.get("code") == "held" and isinstance(error.get("detail"), dict) and "owner" in error["detail"]:
        return error["detail"]
    raise ValueError(str(error.get("message")))


def _describe(error):
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, (KeyError, TypeError, AttributeError)):
        return "its answer has another form (%s)" % type(error).__name__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
