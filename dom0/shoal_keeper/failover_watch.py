"""Failover's own loop, beside the keeper's: cheap while all are there, and no slow call of the other delays it.

While Ceph's monitors and OSDs all take part it asks a volume service every few seconds, and nothing else.
"""

import os
import threading
import time
import traceback

from . import domains, failover, failover_look, failover_roster, observe
from .failover_act import Actor
from .failover_alive import Alive
from .failover_ceph import Services
from .failover_claims import Claims
from .failover_leftover import Leftover
from .failover_lost_master import LOST_MASTER_TIMEOUT_S, LostMaster
from .failover_past import Past
from .failover_presence import Presence
from .failover_stopped import Stopped
from .failover_story import Story
from .failover_succession import Succession
from .services import Silent
from .toolstack import CALL_TIMEOUT_S, Refused, Toolstack, Unreachable

WATCH_S = 2.0
HURRY_S = 1.0  # while somebody is missed
STARTING_S = 0.5  # while this host's toolstack starts as the master
ROSTER_S = 600.0
ROSTER_HURRY_S = 30.0  # while it cannot be read, or names no SR
IDLE_S = 20.0  # between looks at the whole pool, while a host stays dead or a claim waits
FRESH_S = 4.0  # older than that, a look is made anew before the next step
SOON_S = 10.0
STRAY_S = 10.0  # so long a VM must have been seen as a stray
DOUBT_S = 60.0  # so long after it has seen too little, a master looks whether there is another by now
DOUBT_AGAIN_S = 30.0
END_TIMEOUT_S = 2.0
NEVER = float("inf")
FOLLOWED = {failover.FENCE, failover.CLAIM, failover.TAKE_OVER}
FOLLOWING = {failover.CLAIM, failover.TAKE_OVER, failover.RESET}


class Watch:
    """`say` takes a sentence, and whether it is bad news. `rests` is set by the keeper: this host is being serviced."""

    def __init__(self, say):
        self._say = say
        self._toolstack = Toolstack()
        self._services = Services()
        self._presence = Presence()
        self._actor = Actor(self._toolstack.call, self._services)
        self._succession = Succession(self._toolstack.call, self._services, say)
        self._lost_master = LostMaster(self._toolstack)
        self._past = Past(self._services, say)
        self._leftover = Leftover(self._services, say)
        self._story = Story(self._toolstack.call, say)
        self._roster = failover_roster.load()
        self._alive = Alive(lambda: self._roster)
        self._roster_due_at = 0.0
        self._whole_look_due_at = 0.0
        self._unknown = frozenset()
        self._shaky = set()
        self._alone_since = None
        self._was_together = False  # has seen a quorum, so what it does not see now was there
        self._dead = set()
        self._next_look_at = 0.0  # an earlier run may have left claims
        self._looks_for_strays = True
        self._stray_since = {}
        self._claims = Claims()
        self._stopped = Stopped(observe.read_boot(), say)
        self._was_out = False  # this host's own monitor or OSDs, as Ceph says
        self._doubt_until = NEVER  # it is not known what was before
        self._doubt_at = 0.0
        self._round = threading.Lock()
        self.rests = False

    def start(self):
        self._alive.start()
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
                self._say("failover: cannot see enough: %s" % _describe(error), True)
                pause_s = HURRY_S if self._presence.missed() else WATCH_S
            except Exception:  # a bug: systemd starts the keeper again
                traceback.print_exc()
                os._exit(1)
            time.sleep(pause_s)

    def run_round(self):
        """One round; the seconds until the next."""
        if self._roster is None or not self._roster.is_watched():
            self._refresh_roster()
            if self._roster is None or not self._roster.is_watched():
                return WATCH_S
        self._services.use(self._roster.services)
        try:
            members = self._services.members()
        except Silent:
            return self._without_quorum()
        self._return(observe.read_uptime_s(), members)
        self._note_unknown(members[2])
        # Before it is seen that this host is the master: in that round there is something to start yet.
        self._succession.tell(observe.read_uptime_s(), self._starts_here())
        self._refresh_roster()
        if not self._roster.is_watched():
            return WATCH_S
        self._roster = self._succession.correct(self._roster)
        now = observe.read_uptime_s()
        self._succession.hold(self._roster, now)
        self._resolve_doubt(now)
        self._past.update(self._roster, now)
        before = set(self._presence.missed())
        dead = self._listen(members, now, brief=True)
        missed = self._presence.missed()
        if before - set(missed):
            self._succession.welcome(now)
        self._note_shaky()
        self._note_dead(dead)
        if self._collect():
            self._next_look_at = 0.0
        may_look = self._dead or self._actor.starts or not self._presence.dying()
        if not self.rests and now >= self._next_look_at and may_look:
            return self._work(members[0])
        if missed:
            self._say("failover: misses %s" % ", ".join(self._roster.hosts[uuid].name for uuid in sorted(missed)), True)
        if missed and not self._succession.has_another(self._roster):
            if self._lost_master.ask_ahead(self._roster, self._presence):
                return 0.0
        return HURRY_S if set(missed) - dead or self._starts_soon(now) else WATCH_S

    def _listen(self, members, now, brief=False):
        """The hosts that are dead."""
        self._presence.update(self._roster, members, self._beats_in_ceph, now, brief)
        missed, master = self._presence.missed(), self._roster.master
        is_lost = master in missed and not self._succession.has_another(self._roster)
        self._toolstack.timeout_s = LOST_MASTER_TIMEOUT_S if is_lost else CALL_TIMEOUT_S
        dead = {uuid for uuid, signs in missed.items() if failover.is_dead(signs.as_peer(uuid))}
        if self._roster.hosts[master].rests:
            dead.discard(master)  # a look would show the mark, if it were not the master's to show it
        return dead

    def _is_still_dead(self, uuid):
        """What was seen before a toolstack took its time is not good enough to shut anybody out."""
        now = observe.read_uptime_s()
        if self._presence.age_s(now) > FRESH_S or self._presence.is_doubtful(uuid):
            self._note_dead(self._listen(self._services.members(), now))
        return uuid in self._dead

    def _note_dead(self, dead):
        """One that has just died is looked at at once."""
        if dead - self._dead:
            self._next_look_at = 0.0
        self._dead = dead

    def _beats_in_ceph(self, uuid):
        return self._alive.beats(self._services, self._roster, uuid)

    def _without_quorum(self):
        """Stop what runs here once nobody else is there at all. Ceph away, with the hosts up, is another case."""
        self._alive.note_blind()
        self._doubt_until = NEVER
        now = observe.read_uptime_s()
        if self._presence.update_without_quorum(self._roster, now) or self.rests:
            self._alone_since = None
            self._refresh_roster()  # the services may have moved
            return HURRY_S  # the keeper says it, too
        if self._alone_since is None:
            self._alone_since = now
        self._say("failover: this host is cut off from the others", True)
        self._looks_for_strays, self._next_look_at = True, 0.0
        self._stopped.extend(now)
        if now - self._alone_since >= failover.ISOLATED_S:
            self._stop_all(now - self._alone_since)
        return HURRY_S

    def _stop_all(self, alone_s):
        """One after the other, for as long as nobody else is there."""
        for step in failover.decide(failover_look.look_at_own(self._roster.own, alone_s)):
            now = observe.read_uptime_s()
            if self._presence.age_s(now) > FRESH_S and self._presence.update_without_quorum(self._roster, now):
                return
            self._perform((step,), time.monotonic())

    def _return(self, now, members):
        """It sees the others. A master that was cut off from them so long may not be the only one any more."""
        since, self._alone_since = self._alone_since, None
        was_cut_off = self._was_together and since is not None and now - since >= failover.ISOLATED_S
        self._was_together = True
        if was_cut_off and self._roster.master == self._roster.own:
            self._doubt_at = now + DOUBT_AGAIN_S
            self._succession.step_back(self._roster)
        in_quorum, up, machines = members
        own = self._roster.hosts[self._roster.own].machine
        is_out = own in machines and not (own in in_quorum and own in up)
        is_back = self._was_out and not is_out
        self._was_out = is_out
        if self._doubt_until == NEVER or is_back or self._alive.take_standstill():
            # Others may have taken this host for dead, for as long as it saw nothing, or nobody saw it.
            self._doubt_until = now + DOUBT_S
            self._looks_for_strays, self._next_look_at = True, 0.0

    def _resolve_doubt(self, now):
        try:
            if self._doubt_at <= now < self._doubt_until and self._succession.follow_successor(self._roster):
                self._doubt_at = now + DOUBT_AGAIN_S
        except (Refused, Unreachable, Silent) as error:  # it has no master, or is starting; or Ceph is
            self._say("failover: does not know yet who the master is: %s" % _describe(error), False)
            self._doubt_at, self._doubt_until = now + WATCH_S, now + DOUBT_S

    def _work(self, in_quorum):
        """Look at the whole pool, and do what can be done now."""
        now = observe.read_uptime_s()
        # Also if this one fails half-way, but for what was not seen.
        self._next_look_at = min(now + IDLE_S, self._presence.next_try_at(now))
        try:
            self._ask_for_master()
            sight = self._look({})
            steps = [step for step in failover.decide(sight) if step.vm not in self._actor.starts]
            if not steps and self._looks_for_strays:
                sight, steps = self._look_for_strays(sight)
        except failover_look.StandsBack as error:
            self._say("failover: stands back: %s" % error, False)
            return WATCH_S
        except (Refused, Unreachable, Silent) as error:
            self._next_look_at = 0.0
            if isinstance(error, Silent):
                raise
            if self._succession.is_starting(now):
                return STARTING_S
            if self._roster.master not in self._dead:
                self._succession.seek_master(self._roster)
                raise
            if self._is_still_dead(self._roster.master):
                self._succession.take_over(self._roster, in_quorum, self._presence, now)
            return HURRY_S
        if sight.master != self._roster.master:
            self._roster_due_at = 0.0
        did = self._carry_out(sight, steps + self._stopped.take_back(sight, now))
        self._story.update(sight, self._roster, now)
        self._leftover.update(sight, self._roster, now)
        if did - {failover.START}:
            self._next_look_at = 0.0
            return 0.0
        is_claimed = any(guest.claim == sight.own for guest in sight.guests)
        is_waiting = did or self._dead or self._stopped or self._leftover or is_claimed or sight.waits_for_pool
        if not is_waiting and not self._looks_for_strays:
            self._next_look_at = NEVER
        if self._dead and not did:
            self._say("failover: a host is dead, and nothing can be done for it here now", True)
        return HURRY_S if did or self._starts_soon(now) else WATCH_S

    def _starts_soon(self, now):
        """Whether a VM is being started, or is soon tried again."""
        return self._actor.starts or self._presence.next_try_at(now) - now < SOON_S

    def _starts_here(self):
        """Whether a VM is being started on this host, or declared off."""
        return any(place in ("", self._roster.own) for _, place in self._actor.starts.values())

    def _ask_for_master(self):
        """In short, whether the toolstack has another than one that is dead: then all may take its time."""
        if self._roster.master in self._dead and not self._succession.has_another(self._roster):
            self._lost_master.ask(self._roster.master)

    def _look(self, here):
        sight = failover_look.look(self._toolstack.call, self._services, self._roster, self._presence, here)
        now = observe.read_uptime_s()
        sight = self._claims.age(sight._replace(stays_home=self._succession.stays_home(now)), now)
        for vm, place in sorted(self._actor.hanging().items()):
            self._say("failover: the start of the VM %s on host %s does not end" % (vm, place), True)
        return self._actor.avoid_hanging(sight)

    def _look_for_strays(self, sight):
        """With what Xen says of this host: it takes a while to, so nothing urgent waits for it."""
        here = domains.on_shoal()
        if here:
            sight = self._look(here)
        now = observe.read_uptime_s()
        self._stray_since = {vm: self._stray_since.get(vm, now) for vm in sight.strays + sight.shut_out}
        self._looks_for_strays = bool(self._stray_since)
        if sight.shut_out:
            self._stopped.extend(now)
        again = [since + STRAY_S for since in self._stray_since.values() if now - since < STRAY_S]
        self._next_look_at = min([self._next_look_at] + again)
        lasting = {vm for vm, since in self._stray_since.items() if now - since >= STRAY_S}
        steps = [step for step in failover.decide(sight) if step.vm not in self._actor.starts]
        stops = (failover.STOP_STRAY, failover.STOP_OWN)
        return sight, [step for step in steps if step.kind not in stops or step.vm in lasting]

    def _carry_out(self, sight, steps):
        """The steps, and what follows from them without another look: the fence is acknowledged, the claims are won."""
        looked_at, did = time.monotonic(), set()
        while steps:
            try:
                kinds, done = self._perform(steps, looked_at)
            except (Unreachable, Silent):
                self._next_look_at = 0.0  # what is left to do is not put off
                raise
            did |= kinds
            for step in done:
                sight = failover.after(sight, step)
            follows = failover.decide(sight) if FOLLOWED & {step.kind for step in done} else ()
            steps = [step for step in follows if step.kind in FOLLOWING and step not in done]
        return did

    def _perform(self, steps, looked_at):
        """In order, until the look that they rest on is too old. The kinds of what was done or has to wait; what was done."""
        kinds, did = set(), []
        for step in steps:
            if step.kind != failover.STOP_OWN and time.monotonic() - looked_at > FRESH_S:
                return kinds | {step.kind}, did
            if step.kind == failover.FENCE and not self._is_still_dead(step.about):
                continue
            if step.kind == failover.STOP_OWN:
                self._stopped.add(step.vm)
            try:
                done = self._actor.perform(step, self._roster)
            except (domains.XenSilent, Refused) as error:  # of one VM; the others' turn comes all the same
                self._say("failover: %s: %s" % (step.reason, _describe(error)), True)
                continue
            if done:
                kinds.add(step.kind)
                did.append(step)
                self._say("failover: %s: %s" % (done, step.reason), True)
        return kinds, did

    def _collect(self):
        """Whether a task has ended, and the next step may be possible now."""
        try:
            ended = self._actor.collect()
        except (Refused, Unreachable):
            if self._roster.master not in self._dead:
                raise
            return False  # who has no master cannot ask it; first there must be one
        for vm, place, why in ended:
            if why and place:
                now = observe.read_uptime_s()
                is_home = place == self._roster.own and self._succession.stays_home(now)
                self._presence.shun(vm, place, now, grows=not is_home)
                self._say("failover: the VM %s does not start: %s" % (vm, why), True)
            elif why:
                self._say("failover: the VM %s is not declared off: %s" % (vm, why), True)
        return any(place or not why for _, place, why in ended)

    def _refresh_roster(self):
        now = observe.read_uptime_s()
        if now < self._roster_due_at and not self._succession.is_new_master:
            return
        self._roster_due_at = now + ROSTER_HURRY_S
        try:
            roster = failover_roster.read(self._toolstack.call, observe.own_uuid())
        except (Refused, Unreachable) as error:
            if self._roster is None:
                raise
            self._say("failover: goes by what it knew of the pool: %s" % _describe(error), True)
            return
        self._succession.settle(self._roster, roster, now)
        if roster.is_watched():
            # Of a master with no monitor nothing in Ceph says that it is about to rest.
            is_read_often = roster.hosts[roster.master].rests or roster.beats(roster.master)
            self._roster_due_at = now + (ROSTER_HURRY_S if is_read_often else ROSTER_S)
            if now >= self._whole_look_due_at or not roster.beats(roster.master):
                # Now and then all is looked at, whatever this keeper believes to have seen.
                self._looks_for_strays, self._next_look_at = True, min(now, self._next_look_at)
                self._whole_look_due_at = now + ROSTER_S
        if roster != self._roster:
            self._roster = roster
            try:
                failover_roster.save(roster)
            except OSError as error:
                self._say("failover: cannot keep what it knows of the pool: %s" % error, True)

    def _note_shaky(self):
        """A host that leaves the quorum may have been told to rest: that is read while its toolstack still answers."""
        shaky = self._presence.shaky()
        if shaky - self._shaky:
            self._roster_due_at = 0.0
        self._shaky = shaky

    def _note_unknown(self, machines):
        """Ceph names a machine that no host is known to have: it is looked up once."""
        unknown = machines - {place.machine for place in self._roster.hosts.values()}
        if unknown - self._unknown:
            self._roster_due_at = 0.0
        self._unknown = unknown


def _describe(error):
    return ", ".join(error.failure) if isinstance(error, Refused) else str(error)
