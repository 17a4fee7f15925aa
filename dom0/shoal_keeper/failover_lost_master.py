"""Asks a member's toolstack whether it has a master that answers. It waits for a dead one for as long as one lets it."""

from . import failover, observe
from .toolstack import CALL_TIMEOUT_S, Refused, Unreachable

LOST_MASTER_TIMEOUT_S = 2.0
UNANSWERED_S = 4.0  # so long it is news that there was no answer
AHEAD_S = 3.5  # so long before the verdict: the round that asks lasts as long, so the next one brings it


class LostMaster:
    def __init__(self, toolstack):
        self._toolstack = toolstack
        self._unanswered = ("", 0.0, None)  # master, when it was, the error

    def ask(self, master):
        """Raises the toolstack's error while there is none; the last one, while that is news."""
        error = self._news(master)
        if error is not None:
            raise error
        self._toolstack.timeout_s = LOST_MASTER_TIMEOUT_S
        try:
            self._toolstack.call("pool.get_all")
        except (Refused, Unreachable) as error:
            self._unanswered = (master, observe.read_uptime_s(), error)
            raise
        self._toolstack.timeout_s = CALL_TIMEOUT_S

    def ask_ahead(self, roster, presence):
        """Of one that is taken for dead within moments: that is not waited for then. Whether it was asked, and did not answer."""
        master = roster.master
        is_soon = presence.signs(master).silent_s >= failover.SUSPECT_S - AHEAD_S and master in presence.dying()
        if not is_soon or roster.hosts[master].rests or self._news(master) is not None:
            return False
        try:
            self.ask(master)
        except (Refused, Unreachable):  # raised when it matters
            return True
        return False

    def _news(self, master):
        of, at_s, error = self._unanswered
        return error if of == master and observe.read_uptime_s() - at_s <= UNANSWERED_S else None
