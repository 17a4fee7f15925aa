"""Failover's own loop, beside the keeper's: cheap while all are there, and no slow call of the other delays it.

While Ceph's monitors and OSDs all take part it asks a volume service every few seconds, and nothing else.
"""

import os
import threading
import time
import traceback

from . import domains, failover, failover_look, failover_presence, failover_roster, observe
from .failover_act import Actor
from .failover_ceph import Services
from .services import Silent
from .toolstack import Refused, Toolstack, Unreachable

WATCH_S = 4.0
HURRY_S = 1.0  # while somebody is missed, or something is in hand
ROSTER_S = 600.0
ROSTER_HURRY_S = 30.0  # while it cannot be read, or names no SR
IDLE_S = 20.0  # while a host stays dead, and all is done
FRESH_S = 4.0  # older than that, a look is made anew before the next step
END_TIMEOUT_S = 2.0
STRAY_S = 10.0  # so long a VM must have been seen as a stray


class Watch:
    """`say` takes a sentence, and whether it is bad news. `rests` is set by the keeper: this host is being serviced."""

    def __init__(self, say):
        self._say = say
        self._toolstack = Toolstack()
        self._services = Services()
        self._presence = failover_presence.Presence()
        self._actor = Actor(self._toolstack.call, self._services)
        self._roster = failover_roster.load()
        self._roster_due = 0.0
        self._unknown = frozenset()
        self._alone_since = None
        self._stray_since = {}
        self._dead = set()
        self._look_again_at = 0.0
        self._in_hand = True  # an earlier run may have left claims
        self._round = threading.Lock()
        self.rests = False

    def start(self):
        threading.Thread(target=self._run, name="failover", daemon=True).start()

    def end(self):
        """No round begins any more; one that hangs is not waited for."""
        if self._round.acquire(timeout=END_TIMEOUT_S):
            self._toolstack.log_out()

    def _run(self):
        while True:
            try:
                with self._round:
                    pause_s = self.run_round()
            except (Refused, Unreachable, Silent, domains.XenSilent) as error:
                why = ", ".join(error.failure) if isinstance(error, Refused) else str(error)
                self._say("failover: cannot see enough: %s" % why, True)
                pause_s = HURRY_S if self._presence.missed() else WATCH_S
            except Exception:  # a bug: systemd starts the keeper again
                traceback.print_exc()
                os._exit(1)
            time.sleep(pause_s)

    def run_round(self):
        """One round; the seconds until the next."""
        self._refresh_roster(observe.read_uptime_s())
        if self._roster is None or not self._roster.pools or not any(h.machine for h in self._roster.hosts.values()):
            return WATCH_S
        self._services.use(self._roster.services)
        try:
            members = self._services.members()
        except Silent:
            return self._without_quorum()
        self._alone_since = None
        self._look_up_unknown(members[2])
        self._presence.update(self._roster, members, observe.read_uptime_s())
        missed = self._presence.missed()
        dead = {uuid for uuid, signs in missed.items() if failover.is_dead(signs.as_peer(uuid))}
        is_new = not dead <= self._dead or (dead and observe.read_uptime_s() >= self._look_again_at)
        if not self.rests and (is_new or self._in_hand or self._actor.starts):
            self._dead = dead
            return self._work()
        if missed:
            self._say("failover: misses %s" % ", ".join(self._roster.hosts[uuid].name for uuid in sorted(missed)), True)
        self._dead &= dead
        return HURRY_S if set(missed) - dead else WATCH_S

    def _without_quorum(self):
        """Stop what runs here once nobody else is there at all. Ceph that is away with all its hosts up is another case."""
        self._in_hand = self._presence.looks_for_strays = True
        now = observe.read_uptime_s()
        if self._presence.update_without_quorum(self._roster, now) or self.rests:
            self._alone_since = None
            return HURRY_S  # the keeper says it, too
        if self._alone_since is None:
            self._alone_since = now
        alone_s = now - self._alone_since
        self._say("failover: this host is cut off from the others", True)
        if alone_s >= failover.ISOLATED_S:
            self._perform(failover.decide(failover_look.look_at_own(self._roster.own, alone_s)))
        return HURRY_S

    def _work(self):
        self._collect()
        here = self._list_domains() if self._presence.looks_for_strays else {}
        try:
            sight = failover_look.look(self._toolstack.call, self._services, self._roster, self._presence, here)
        except failover_look.StandsBack as error:
            self._say("failover: stands back: %s" % error, False)
            self._in_hand, self._look_again_at = False, observe.read_uptime_s() + IDLE_S
            return WATCH_S
        steps = [step for step in failover.decide(sight) if step.vm not in self._actor.starts]
        steps = [step for step in steps if step.kind != failover.STOP_STRAY or self._is_lasting(step.vm)]
        self._stray_since = {vm: self._stray_since.get(vm, observe.read_uptime_s()) for vm in sight.strays}
        if here is not None and not sight.strays:
            self._presence.looks_for_strays = False
        has_claims = any(guest.claim == sight.own for guest in sight.guests)
        self._in_hand = bool(steps or has_claims or self._presence.looks_for_strays)
        self._look_again_at = observe.read_uptime_s() + IDLE_S
        if self._perform(steps):
            return 0.0
        if self._dead:
            self._say("failover: a host is dead, and nothing can be done for it here now", True)
        return HURRY_S if self._actor.starts else WATCH_S

    def _list_domains(self):
        """None when Xen does not say. That keeps nobody from helping another host's VMs."""
        try:
            return domains.on_shoal()
        except domains.XenSilent as error:
            self._say("failover: cannot see which VMs run here: %s" % error, True)
            return None

    def _is_lasting(self, vm):
        return vm in self._stray_since and observe.read_uptime_s() - self._stray_since[vm] >= STRAY_S

    def _perform(self, steps):
        """In order, until the look that they rest on is too old. Whether anything was done."""
        looked_at, did = time.monotonic(), False
        for step in steps:
            if time.monotonic() - looked_at > FRESH_S:
                break
            done = self._actor.perform(step, self._roster)
            if done:
                did = True
                self._say("failover: %s: %s" % (done, step.reason), True)
        return did

    def _collect(self):
        for vm, place, why in self._actor.collect():
            if why:
                self._presence.shun(place, observe.read_uptime_s())
                self._say("failover: the VM %s does not start: %s" % (vm, why), True)

    def _refresh_roster(self, now):
        if now < self._roster_due:
            return
        self._roster_due = now + ROSTER_HURRY_S
        try:
            roster = failover_roster.read(self._toolstack.call, observe.own_uuid())
        except (Refused, Unreachable) as error:
            if self._roster is None:
                raise
            why = ", ".join(error.failure) if isinstance(error, Refused) else str(error)
            self._say("failover: goes by what it knew of the pool: %s" % why, True)
            return
        if roster.pools:
            self._roster_due = now + ROSTER_S
        if roster != self._roster:
            self._roster = roster
            failover_roster.save(roster)

    def _look_up_unknown(self, machines):
        """Ceph names a machine that no host is known to have: once for each that comes."""
        unknown = machines - {place.machine for place in self._roster.hosts.values()}
        if unknown - self._unknown:
            self._roster_due = 0.0
        self._unknown = unknown
