"""The sign of life in Ceph of a host that neither monitor nor OSD speaks for: a lock that its keeper renews.

In a thread of its own, with connections of its own: a round of failover may wait for a toolstack for longer than the lock
lasts, and a host that waits is not dead.
"""

import os
import threading
import time
import traceback

from . import observe
from .failover_ceph import Services
from .services import Silent

LOCK = "alive-"
LOCK_S = 20
EVERY_S = 4.0
AGAIN_S = 1.0
STILL_S = 10.0  # who wakes up so much later than it wanted to was not only slow
BLIND_S = 30.0  # so long after a time in which nobody could renew, everybody has: a renewal that hangs ends after 8 s


class Alive:
    """`roster` gives the newest one, None while there is none."""

    def __init__(self, roster):
        self._roster = roster
        self._services = Services()
        self._blind_at = observe.read_uptime_s()  # nobody knows what was before
        self._stood_still = False

    def start(self):
        threading.Thread(target=self._run, name="alive", daemon=True).start()

    def _run(self):
        while True:
            try:
                pause_s = self._renew()
            except Exception:  # a bug: systemd starts the keeper again
                traceback.print_exc()
                os._exit(1)
            slept_at = observe.read_uptime_s()
            time.sleep(pause_s)
            if observe.read_uptime_s() - slept_at > pause_s + STILL_S:
                self._stood_still = True

    def take_standstill(self):
        """Whether this dom0 has stood still since this was last asked: it was paused, or starved."""
        stood_still, self._stood_still = self._stood_still, False
        return stood_still

    def _renew(self):
        """This host's own sign, if it gives any; the seconds until the next."""
        roster = self._roster()
        if roster is not None and roster.is_watched() and roster.beats(roster.own):
            self._services.use(roster.services)
            try:
                self._services.take_lock(roster.pools[0], LOCK + roster.own, roster.own, LOCK_S)
            except Silent:  # the rounds say so
                self.note_blind()
                return AGAIN_S
        return EVERY_S

    def note_blind(self):
        """Ceph does not answer: perhaps nobody can renew a sign."""
        self._blind_at = observe.read_uptime_s()

    def beats(self, services, roster, uuid):
        """Whether another host gives its sign. That there is none says nothing while, and soon after, nobody could renew it."""
        try:
            owner = services.lock_owner(roster.pools[0], LOCK + uuid)
        except Silent:
            self.note_blind()
            raise
        return owner == uuid or observe.read_uptime_s() - self._blind_at < BLIND_S
