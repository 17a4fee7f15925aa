"""What is known of each host's signs of life, and for how long it is silent. By this host's uptime alone.

A host is asked for an answer on the network only while one of its other signs is missing.
"""

import errno
import socket
import threading
from typing import NamedTuple

from . import failover

TOOLSTACK_PORT = 443
ANSWER_TIMEOUT_S = 1.5
BRIEF_S = 0.5  # a host that lives answers within milliseconds, or to the second packet, which is sent after a second
SHUN_FIRST_S = 2.0  # a toolstack that has just become the master's, or follows a new one, knows no drivers yet
SHUN_GROWTH = 1.5
SHUN_S = 60.0
UNHEARD_S = 6.0  # no more than so much of the time between two questions counts: this host may have stood still


class Signs(NamedTuple):
    answers: bool
    in_quorum: bool
    osds_up: bool
    silent_s: float
    beats_in_ceph: bool = False

    def as_peer(self, uuid):
        return failover.Peer(
            uuid, self.answers, self.in_quorum, self.osds_up, self.silent_s, beats_in_ceph=self.beats_in_ceph
        )


HEALTHY = Signs(True, True, True, 0.0)


class Presence:
    def __init__(self):
        self._signs = {}
        self._silent_s = {}
        self._doubtful = set()  # silent, but not waited for in full when they were last asked
        self._shunned = {}  # (VM, host) → until when it is not started there again, and how long that was
        self._now = 0.0

    def update(self, roster, members, beats_in_ceph, uptime_s, brief=False):
        """From what Ceph says: names of machines in quorum, with OSDs up, and all there are.

        `beats_in_ceph` is asked of a host that is silent, and has no machine. If `brief`, hosts that have long been silent
        are not waited for as long as others.
        """
        in_quorum, up, machines = members
        judged = {
            uuid: host
            for uuid, host in roster.hosts.items()
            if uuid != roster.own and (host.machine in machines or roster.beats(uuid))
        }
        whole = {uuid for uuid, host in judged.items() if host.machine in in_quorum and host.machine in up}
        self._listen({uuid: host for uuid, host in judged.items() if uuid not in whole}, uptime_s, brief)
        alive = [judged[uuid].address for uuid in sorted(whole)]
        if self._silent_s and alive and not any(answers(address) for address in alive):
            self._silent_s = {}  # not one that lives, as Ceph says, answers here: this host's own network is away
        self._signs = {}
        for uuid, host in judged.items():
            silent_s = self._silent_s.get(uuid, 0.0)
            beats = silent_s > 0 and roster.beats(uuid) and beats_in_ceph(uuid)
            answered = uuid not in self._silent_s
            self._signs[uuid] = Signs(answered, host.machine in in_quorum, host.machine in up, silent_s, beats)

    def update_without_quorum(self, roster, uptime_s):
        """Nobody can be judged now. Silence counts on: Ceph's monitors vote while it begins. Whether anybody answers."""
        others = {uuid: host for uuid, host in roster.hosts.items() if uuid != roster.own}
        self._listen(others, uptime_s)
        self._signs = {}
        return not others or set(others) > set(self._silent_s)

    def _listen(self, hosts, uptime_s, brief=False):
        """Only these may be silent. All are asked at once: each that is silent takes its time."""
        passed_s, self._now = min(uptime_s - self._now, UNHEARD_S), uptime_s
        answered = {}

        def ask(uuid, address):
            answered[uuid] = answers(address)

        asked = {uuid: threading.Thread(target=ask, args=(uuid, host.address), daemon=True) for uuid, host in hosts.items()}
        for thread in asked.values():
            thread.start()
        self._doubtful, silent = set(), []
        for uuid in sorted(asked, key=self._silent_for_s):
            is_long = self._silent_for_s(uuid) >= failover.SUSPECT_S
            asked[uuid].join(BRIEF_S if brief and is_long else None)
            if asked[uuid].is_alive():
                self._doubtful.add(uuid)
            if uuid in self._doubtful or not answered[uuid]:
                silent.append(uuid)
        self._silent_s = {uuid: self._silent_s[uuid] + passed_s if uuid in self._silent_s else 0.0 for uuid in silent}

    def is_doubtful(self, uuid):
        """Whether it was not waited for in full."""
        return uuid in self._doubtful

    def _silent_for_s(self, uuid):
        return self._silent_s.get(uuid, 0.0)

    def age_s(self, uptime_s):
        """Seconds since the hosts were listened to."""
        return uptime_s - self._now

    def signs(self, uuid):
        return self._signs.get(uuid, HEALTHY)

    def missed(self):
        """Hosts that are silent."""
        return {uuid: signs for uuid, signs in self._signs.items() if not signs.answers}

    def dying(self):
        """Hosts that show no sign of life, and have not been silent for long enough to be dead."""
        found = set()
        for uuid, signs in self.missed().items():
            later = signs.as_peer(uuid)._replace(silent_s=failover.SUSPECT_S)
            if signs.silent_s < failover.SUSPECT_S and failover.is_dead(later):
                found.add(uuid)
        return found

    def shaky(self):
        """Hosts that answer, and whose monitors take no part: they may be about to go."""
        return {uuid for uuid, signs in self._signs.items() if signs.answers and not signs.in_quorum}

    def shun(self, vm, host, uptime_s, grows=True):
        """Longer each time, if it `grows`."""
        _, before_s = self._shunned.get((vm, host), (0.0, SHUN_FIRST_S / SHUN_GROWTH))
        pause_s = min(SHUN_GROWTH * before_s, SHUN_S) if grows else SHUN_FIRST_S
        self._shunned[vm, host] = (uptime_s + pause_s, pause_s)

    def shunned_by(self, vm):
        return frozenset(host for (one, host), (until, _) in self._shunned.items() if one == vm and until > self._now)

    def next_try_at(self, uptime_s):
        """When the next VM may be started again where it did not start."""
        return min((until for until, _ in self._shunned.values() if until > uptime_s), default=float("inf"))


def answers(address):
    """Whether anything answers there: a refusal is an answer, too."""
    try:
        socket.create_connection((address, TOOLSTACK_PORT), ANSWER_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError as error:
        return error.errno == errno.ECONNRESET
    return True
