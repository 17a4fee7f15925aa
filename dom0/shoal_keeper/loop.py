"""Look, decide, act, say: one round after the other. A round that cannot see the pool says so, and the next one comes."""

from shoal_dom0 import sockets

from . import memory as memories
from . import noout, observe
from .act import DONE, FAILED, Actor
from .alerts import Alerts
from .containers import Containers
from .decide import decide, describe
from .failover_watch import Watch
from .toolstack import Refused, Toolstack, Unreachable
from .usage import Usage

AT_ONCE_S = 0.2  # after something was done: the next thing may be possible now
BOOTING_S = 600.0  # so long after a boot everything waits for something
BOOTING_HURRY_S = 2.0
HURRY_S = 5.0  # later, while something is waited for
CALM_S = 20.0


class Keeper:
    """`say` takes a sentence, and whether it is bad news; `say_of_failover` the same, from another thread."""

    def __init__(self, say, say_of_failover):
        self._say = say
        self._watch = Watch(say_of_failover)
        self._toolstack = Toolstack()
        self._observer = observe.Observer(self._toolstack)
        self._actor = Actor(self._toolstack)
        self._alerts = Alerts(self._toolstack)
        self._containers = Containers(self._toolstack)
        self._noout = noout.Return()
        self._usage = Usage(self._toolstack)
        self._stuck = sockets.Stuck()
        self._memory = memories.load(observe.read_boot())
        self._is_kept = True
        self._save()  # so that the next boot is known for one
        self._watch.start()

    def run_round(self):
        """One round; the seconds until the next."""
        try:
            return self._round()
        except Refused as error:
            self._say("cannot see the pool: %s" % ", ".join(error.failure), True)
        except Unreachable as error:
            self._say("cannot see the pool: %s" % error, True)
        return _hurry_s()

    def end(self):
        try:
            self._watch.end()
            self._toolstack.log_out()
        except Unreachable:
            pass  # xapi ends sessions that nobody uses

    def _round(self):
        outcomes = self._actor.collect()
        self._record(outcomes)
        seen = self._observer.look(self._memory, self._actor.under_way())._replace(hanging=self._actor.hanging())
        self._watch.rests = seen.host.may_be_away or seen.pool.ha_enabled
        self._remember(memories.after_look(self._memory, seen))
        decision = decide(seen, self._memory)
        begun = self._actor.carry_out(decision.actions)
        self._record(begun)
        outcomes += begun
        said = ["%s (%s): %s" % (describe(one.action), one.action.reason, one.why or one.how) for one in outcomes]
        try:
            if decision.troubles is not None:
                said += self._alerts.update(decision, seen)
            said += self._noout.update(seen)
            said += self._containers.update(seen)
            said += self._usage.update(seen)
            said += self._stuck.end_lasting()
        finally:
            self._say("; ".join(said) or decision.why, any(outcome.how == FAILED for outcome in outcomes))
        if any(outcome.how == DONE for outcome in outcomes):
            return AT_ONCE_S
        return CALM_S if decision.is_settled else _hurry_s()

    def _record(self, outcomes):
        for outcome in outcomes:
            uptime_s = observe.read_uptime_s()
            if outcome.how == DONE:
                self._remember(memories.after_success(self._memory, outcome.action, uptime_s))
            elif outcome.how == FAILED:
                self._remember(memories.after_failure(self._memory, outcome.action, uptime_s, outcome.why))

    def _remember(self, memory):
        before, self._memory = self._memory, memory
        if not self._is_kept or memories.differs(before, memory):
            self._save()

    def _save(self):
        """A full disk must not keep the pool from coming up: all is done as if it were kept. It is, once there is room.

        What was kept before is of another boot: a keeper that starts anew would owe all starts again.
        """
        was_kept, self._is_kept = self._is_kept, False
        try:
            memories.save(self._memory)
            self._is_kept = True
        except OSError as error:
            if was_kept:
                self._say("cannot keep what it remembers: %s" % error, True)


def _hurry_s():
    return BOOTING_HURRY_S if observe.read_uptime_s() < BOOTING_S else HURRY_S
