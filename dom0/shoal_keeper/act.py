"""Carries out what was decided. Long calls are tasks of xapi, and are not begun twice.

Every action may be repeated. What somebody else has done first is done.
"""

import time

from . import tasks
from .toolstack import Refused

WAIT_S = 5.0  # for what was begun in this round; then the next rounds look after it, and do what else can be done
POLL_S = 0.5
HANGS_S = 300.0  # a start that has not ended after so long hinders no other any more
BEATEN = ("VM_BAD_POWER_STATE", "OTHER_OPERATION_IN_PROGRESS")

DONE, FAILED, LATER = "done", "failed", "later"


class Outcome:
    """`how` is DONE, FAILED or LATER: begun, or being done by somebody else."""

    def __init__(self, action, how, why=""):
        self.action = action
        self.how = how
        self.why = why


class Actor:
    def __init__(self, toolstack):
        self._toolstack = toolstack
        self._tasks = {}  # key → (task, action)
        self._begun_at = {}

    def under_way(self):
        return tuple(self._tasks)

    def hanging(self):
        """Of what is under way, what has not ended for so long. It may end well yet, so it is not begun anew."""
        now = time.monotonic()
        return tuple(key for key in self._tasks if now - self._begun_at[key] >= HANGS_S)

    def collect(self):
        """The outcomes of what earlier rounds began and has ended since."""
        return [outcome for outcome in map(self._look, list(self._tasks)) if outcome is not None]

    def carry_out(self, actions):
        """Begin them all, wait until the first has ended, at most for a while, and say what became of each."""
        outcomes, begun = [], []
        for action in actions:
            outcome = self._begin(action)
            if outcome is None:
                begun.append(action)
            else:
                outcomes.append(outcome)
        end = time.monotonic() + WAIT_S
        while begun:
            ended = {key: self._look(key) for key in [action.key for action in begun]}
            outcomes += [outcome for outcome in ended.values() if outcome is not None]
            begun = [action for action in begun if ended[action.key] is None]
            if len(begun) < len(ended) or time.monotonic() >= end:
                break  # the next one may be possible now
            time.sleep(POLL_S)
        return outcomes + [Outcome(action, LATER, "goes on") for action in begun]

    def _begin(self, action):
        """None when a task was begun."""
        call = self._toolstack.call
        try:
            if action.kind == "refresh":
                self._refresh(action)
                return Outcome(action, DONE)
            if action.kind == "plug":
                task = call("Async.PBD.plug", action.ref)
            elif action.place:
                task = call("Async.VM.start_on", action.ref, action.place, False, False)
            else:
                task = call("Async.VM.start", action.ref, False, False)
        except Refused as error:
            return _outcome_of(action, error.failure)
        self._tasks[action.key] = (task, action)
        self._begun_at[action.key] = time.monotonic()
        return None

    def _look(self, key):
        task, action = self._tasks[key]
        failure = tasks.look(self._toolstack.call, task)
        if failure is None:
            return None
        del self._tasks[key]
        if failure is tasks.FORGOTTEN:
            return Outcome(action, LATER, tasks.describe(failure))  # the next look shows what became of it
        return _outcome_of(action, failure) if failure else Outcome(action, DONE)

    def _refresh(self, action):
        """xapi's own call for it changes the record at once, so that no PBD is ever missing."""
        call = self._toolstack.call
        config = dict(call("PBD.get_device_config", action.ref), monitors=",".join(action.monitors))
        self._toolstack.become_driver_of(action.sr)
        try:
            call("PBD.set_device_config", action.ref, config)
        finally:
            self._toolstack.cease_to_be_driver()


def _outcome_of(action, failure):
    if failure[0] in BEATEN:
        return Outcome(action, LATER, "somebody else is at it")
    return Outcome(action, FAILED, "failed: " + tasks.describe(failure))
