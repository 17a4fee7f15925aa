"""What is known of each host's signs of life, and since when it is silent. By this host's uptime alone.

A host is asked for an answer on the network only while one of its other signs is missing.
"""

import errno
import socket
from typing import NamedTuple

from .failover import Peer

TOOLSTACK_PORT = 443
ANSWER_TIMEOUT_S = 1.5
SHUN_S = 60.0


class Signs(NamedTuple):
    answers: bool
    in_quorum: bool
    osds_up: bool
    silent_s: float
    beats_in_ceph: bool = False

    def as_peer(self, uuid):
        return Peer(
            uuid, self.answers, self.in_quorum, self.osds_up, self.silent_s, beats_in_ceph=self.beats_in_ceph
        )


HEALTHY = Signs(True, True, True, 0.0)


class Presence:
    def __init__(self):
        self._signs = {}
        self._silent_since = {}
        self._shunned = {}  # (VM, host) → until when it is not started there again
        self._now = 0.0

    def update(self, roster, members, beats_in_ceph, uptime_s):
        """From what Ceph says: names of machines in quorum, with OSDs up, and all there are.

        `beats_in_ceph` is asked of a host that is silent, and has no machine.
        """
        in_quorum, up, machines = members
        judged = {
            uuid: host
            for uuid, host in roster.hosts.items()
            if uuid != roster.own and (host.machine in machines or roster.beats(uuid))
        }
        whole = {uuid for uuid, host in judged.items() if host.machine in in_quorum and host.machine in up}
        self._listen({uuid: host for uuid, host in judged.items() if uuid not in whole}, uptime_s)
        self._signs = {}
        for uuid, host in judged.items():
            since = self._silent_since.get(uuid)
            silent_s = 0.0 if since is None else uptime_s - since
            beats = silent_s > 0 and roster.beats(uuid) and beats_in_ceph(uuid)
            self._signs[uuid] = Signs(since is None, host.machine in in_quorum, host.machine in up, silent_s, beats)

    def update_without_quorum(self, roster, uptime_s):
        """Nobody can be judged now. Silence counts on: Ceph's monitors vote while it begins. Whether anybody answers."""
        others = {uuid: host for uuid, host in roster.hosts.items() if uuid != roster.own}
        self._listen(others, uptime_s)
        self._signs = {}
        return not others or set(others) > set(self._silent_since)

    def _listen(self, hosts, uptime_s):
        """Only these may be silent."""
        self._now = uptime_s
        silent = [uuid for uuid, host in hosts.items() if not answers(host.address)]
        self._silent_since = {uuid: self._silent_since.get(uuid, uptime_s) for uuid in silent}

    def signs(self, uuid):
        return self._signs.get(uuid, HEALTHY)

    def missed(self):
        """Hosts that are silent."""
        return {uuid: signs for uuid, signs in self._signs.items() if not signs.answers}

    def shaky(self):
        """Hosts that answer, and whose monitors take no part: they may be about to go."""
        return {uuid for uuid, signs in self._signs.items() if signs.answers and not signs.in_quorum}

    def shun(self, vm, host, uptime_s):
        self._shunned[vm, host] = uptime_s + SHUN_S

    def shunned_by(self, vm):
        return frozenset(host for (one, host), until in self._shunned.items() if one == vm and until > self._now)


def answers(address):
    """Whether anything answers there: a refusal is an answer, too."""
    try:
        socket.create_connection((address, TOOLSTACK_PORT), ANSWER_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError as error:
        return error.errno == errno.ECONNRESET
    return True
