"""What is known of each host's signs of life, and since when it is silent. By this host's uptime alone.

A host is asked for an answer on the network only while one of its other signs is missing.
"""

import errno
import socket
from typing import NamedTuple

TOOLSTACK_PORT = 443
ANSWER_TIMEOUT_S = 1.5
SHUN_S = 30.0


class Signs(NamedTuple):
    answers: bool
    in_quorum: bool
    osds_up: bool
    silent_s: float


HEALTHY = Signs(True, True, True, 0.0)


class Presence:
    def __init__(self):
        self._signs = {}
        self._silent_since = {}
        self._shunned = {}  # host → until when nothing is started there
        self._now = 0.0
        self.looks_for_strays = True  # until a look has found none; again after this host was cut off

    def update(self, roster, members, uptime_s):
        """From what Ceph says; names of machines in quorum, with OSDs up, and all there are."""
        self._now = uptime_s
        in_quorum, up, machines = members
        signs = {}
        for uuid, place in roster.hosts.items():
            is_judged = place.machine in machines and uuid != roster.own
            has_both = place.machine in in_quorum and place.machine in up
            if not is_judged or has_both or answers(place.address):
                self._silent_since.pop(uuid, None)
            else:
                self._silent_since.setdefault(uuid, uptime_s)
            if is_judged:
                since = self._silent_since.get(uuid)
                silent_s = 0.0 if since is None else uptime_s - since
                signs[uuid] = Signs(since is None, place.machine in in_quorum, place.machine in up, silent_s)
        self._signs = signs

    def forget(self):
        """Without quorum nobody can be judged, and silence is counted anew."""
        self._silent_since, self._signs = {}, {}

    def signs(self, uuid):
        return self._signs.get(uuid, HEALTHY)

    def missed(self):
        """Hosts that are silent."""
        return {uuid: signs for uuid, signs in self._signs.items() if not signs.answers}

    def shun(self, uuid, uptime_s):
        self._shunned[uuid] = uptime_s + SHUN_S

    def shuns(self, uuid):
        return self._shunned.get(uuid, 0.0) > self._now


def answers(address):
    """Whether anything answers there: a refusal is an answer, too."""
    try:
        socket.create_connection((address, TOOLSTACK_PORT), ANSWER_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError as error:
        return error.errno == errno.ECONNRESET
    return True
