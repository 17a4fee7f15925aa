"""Another master for a pool whose master is dead: without one the toolstack answers nothing, so no VM can be started.

All keepers know who it will be. xapi goes on with the copy of the database that its host was sent last.
"""

from shoal_dom0.deadline import Deadline
from shoal_dom0.xapi import Xapi

from .toolstack import CALL_TIMEOUT_S, USER, Refused, Unreachable

LOCK = "failover-master"
SUCCESSOR = "successor-of-"  # who has it took over from that host; for when it comes back and does not know
SUCCESSOR_S = 3600  # the longest that a lock may last
UNTOLD = "untold-"  # who has it knows no master that answers, and has seen that it is that host
ROLE_FILE = "/etc/xensource/pool.conf"
HEIR_PATIENCE_S = 60.0  # so long after the one before it the next one may
AGAIN_S = 180.0  # a toolstack that restarts as the master takes a while
REFUSED_S = 10.0  # so long one is left alone that has refused to be it
TELL_S = 300.0  # so long the others are told: a toolstack that is just restarting does not hear it
TELL_EVERY_S = 30.0
HOME_S = 60.0  # so long the others' toolstacks restart, to follow this host, or are about to
HOLD_EVERY_S = 60.0
LATEST_S = 20.0  # so long what is not urgent waits for what a new master has to start
STEPS_BACK_MAX = 3  # by then whoever has begun to take the place has it, or never will


class Succession:
    def __init__(self, call, services, say):
        self._call = call
        self._services = services
        self._say = say
        self._taken_at = None
        self._refused_until = 0.0
        self.is_new_master = False  # and its toolstack does not answer yet
        self._tell_at = self._tell_until = 0.0
        self._home_until = self._latest_at = 0.0
        self._has_succeeded = False
        self._hold_at = 0.0
        self._steps_back = 0

    def has_another(self, roster):
        """Whether this host's toolstack has a master that the roster does not know yet."""
        return self.is_new_master or _follows_another(roster) or _is_master_unknown_to(roster)

    def correct(self, roster):
        """The roster with the master that this host's toolstack follows. It may have been read before that was told, and
        cannot be read when that master has died in its turn.
        """
        role, address = _role()
        if role != "slave":
            return roster
        followed = [uuid for uuid, place in roster.hosts.items() if place.address == address.strip("[]")]
        return roster._replace(master=followed[0]) if followed else roster

    def seek_master(self, roster):
        """This host's toolstack does not answer, though its master lives: that is none any more, if Ceph names another."""
        holder = self._services.lock_owner(roster.pools[0], LOCK)
        if holder not in (None, roster.own, roster.master):
            self._ask_to_be_told(roster, holder)

    def _ask_to_be_told(self, roster, master):
        self._services.take_lock(roster.pools[0], UNTOLD + master, roster.own, int(AGAIN_S))

    def take_over(self, roster, in_quorum, presence, uptime_s):
        """This host, if it is its turn: fence the dead master, then become what it was."""
        if uptime_s < self._refused_until or (self._taken_at is not None and uptime_s - self._taken_at < AGAIN_S):
            return
        able = [
            (place.rests, uuid)  # the keeper of one that is being serviced does nothing
            for uuid, place in roster.hosts.items()
            if uuid != roster.master
            and (place.machine in in_quorum or roster.beats(uuid))
            and presence.signs(uuid).answers
        ]
        heirs = [uuid for _, uuid in sorted(able)]
        is_master = _is_master_unknown_to(roster) and self._taken_at is None  # by a person, or the keeper before this one
        if not heirs or _follows_another(roster) or is_master:
            return
        turn = int((presence.signs(roster.master).silent_s) // HEIR_PATIENCE_S)
        heir = heirs[turn % len(heirs)]
        if heir != roster.own:
            self._say("failover: the pool's master is dead, and %s is to be it" % roster.hosts[heir].name, True)
            return
        self._services.release_lock(roster.pools[0], LOCK, roster.master)
        holder = self._services.take_lock(roster.pools[0], LOCK, roster.own, int(AGAIN_S))
        if holder != roster.own:
            self._say("failover: %s is the pool's master by now, or tries to be" % _name(roster, holder), True)
            self._ask_to_be_told(roster, holder)
            return
        self._fence(roster)
        self._become_master(roster, uptime_s)
        self._say("failover: made this host the pool's master: %s is dead" % roster.hosts[roster.master].name, True)

    def _become_master(self, roster, uptime_s):
        """A toolstack that refuses leaves the place to the next heir at once."""
        # On a member with no master xapi takes a few calls with a session that only this host knows.
        try:
            local = _ask(USER, "session.slave_local_login_with_password", "")
        except Unreachable:
            self._leave_place(roster, uptime_s)
            raise
        self._note_successor(roster)
        self._taken_at = uptime_s
        try:
            _ask(local, "pool.emergency_transition_to_master")
        except Refused:
            self._leave_place(roster, uptime_s)
            raise
        self.is_new_master = True

    def _leave_place(self, roster, uptime_s):
        if _role()[0] == "master":
            return  # and comes up as it, though late: nobody else may be it beside
        self._taken_at, self._refused_until = None, uptime_s + REFUSED_S
        self._release(roster.pools[0], roster.master, roster.own)

    def _release(self, place, predecessor, own):
        for lock in (SUCCESSOR + predecessor, LOCK):
            self._services.release_lock(place, lock, own)

    def _fence(self, roster):
        owners, _ = self._services.owners(roster.pools)
        its = {address for _, _, _, address in owners if roster.host_at(address) == roster.master}
        unfenced = its - self._services.fenced(roster.pools[0])
        if unfenced:
            self._services.fence(roster.pools[0], unfenced)

    def _note_successor(self, roster):
        place = roster.pools[0]
        self._services.take_lock(place, SUCCESSOR + roster.master, roster.own, SUCCESSOR_S)
        earlier = self._services.lock_owner(place, SUCCESSOR + roster.own)
        if earlier:
            self._services.release_lock(place, SUCCESSOR + roster.own, earlier)  # this host is the master by right

    def settle(self, known, roster, uptime_s):
        """Once this host's toolstack answers as the master, and `known`, the roster before, had another: the others shall
        follow it. A keeper that was killed in between has that from its file.
        """
        was_other = known is not None and known.master != roster.own
        if roster.master == roster.own and (self.is_new_master or was_other):
            self.is_new_master = False
            self._has_succeeded = True
            self._tell_at, self._tell_until = uptime_s, uptime_s + TELL_S
            self._home_until, self._latest_at = uptime_s + HOME_S, uptime_s + LATEST_S
            if self._taken_at is not None:  # the lock that was taken then lasts for longer than another's turn is away
                self._hold_at = min(self._latest_at, self._taken_at + HEIR_PATIENCE_S)
            self._say("failover: has the other hosts follow this one as their master", True)
        elif self.is_new_master and (_role()[0] == "slave" or uptime_s - self._taken_at >= AGAIN_S):
            self.is_new_master = False  # its toolstack has found the dead one back, while it started
            self._release(known.pools[0], roster.master, roster.own)

    def is_starting(self, uptime_s):
        """Whether this host's toolstack starts as the master, and another try would be too soon: that is only waited for."""
        return self.is_new_master and uptime_s - self._taken_at < AGAIN_S

    def stays_home(self, uptime_s):
        """Whether VMs start here, if they can, and elsewhere later: the others are only learning that this is the master."""
        return uptime_s < self._home_until

    def hold(self, roster, uptime_s):
        """As the master, whatever the roster knows yet: who was off meanwhile, and has no news of this one, does not take
        its place, and is told. Not while its toolstack does not answer: then another host may be a better master.
        """
        if uptime_s < self._hold_at or self.is_new_master or _role()[0] != "master":
            return
        self._hold_at, place = uptime_s + HOLD_EVERY_S, roster.pools[0]
        try:
            self._call("pool.get_all")
        except (Refused, Unreachable) as error:
            self._say("failover: does not hold the master's place: %s" % error, True)
            return
        self._services.take_lock(place, LOCK, roster.own, int(AGAIN_S))
        untold = self._services.lock_owner(place, UNTOLD + roster.own)
        if untold:
            self._services.release_lock(place, UNTOLD + roster.own, untold)
            self._tell_until = max(self._tell_until, uptime_s + HOLD_EVERY_S)

    def welcome(self, uptime_s):
        """A host is back: it may be one that was off when the others were told."""
        if self._has_succeeded:
            self._tell_until = uptime_s + TELL_S

    def tell(self, uptime_s, is_starting_vms=False):
        """As a task: xapi asks the dead host, too, and waits for it. Who follows already is not disturbed.

        VMs that start here come first, for a while: whoever is told restarts, and has nothing to give them meanwhile. Till
        then the lock keeps the others from the master's place.
        """
        if is_starting_vms and uptime_s < self._latest_at:
            return
        if self._tell_at <= uptime_s < self._tell_until and _role()[0] != "slave":
            self._tell_at = uptime_s + TELL_EVERY_S
            self._call("Async.pool.recover_slaves")

    def follow_successor(self, roster):
        """If another took this master's place while it could not know: step back. Whether it does."""
        place, lock = roster.pools[0], SUCCESSOR + roster.own
        successor = self._services.lock_owner(place, lock)
        if successor in (None, roster.own):
            self._steps_back = 0
            return False
        (pool,) = self._call("pool.get_all_records").values()
        if self._call("host.get_uuid", pool["master"]) != roster.own:
            self._services.release_lock(place, lock, successor)  # it follows: that is over
            return False
        if self._steps_back >= STEPS_BACK_MAX:
            return False  # it has died before it was the master, or after
        self._steps_back += 1
        self.step_back(roster)
        return True

    def step_back(self, roster):
        """A master that was cut off: while it starts, its toolstack asks whether there is another by now, and follows it."""
        self._say("failover: restarts the toolstack: there may be another master by now", True)
        self._call("host.restart_agent", self._call("host.get_by_uuid", roster.own))


def _follows_another(roster):
    """Whether this host's toolstack has been told of a new master, which the roster does not know yet."""
    role, address = _role()
    others = {place.address for uuid, place in roster.hosts.items() if uuid not in (roster.master, roster.own)}
    return role == "slave" and address.strip("[]") in others


def _is_master_unknown_to(roster):
    """Whether this host is the master already, and the roster names another: a person has made it that, or just now it."""
    return _role()[0] == "master" and roster.master != roster.own


def _role():
    """As this host's toolstack starts: ("master", "") or ("slave", the master's address)."""
    try:
        with open(ROLE_FILE) as file:
            role, _, address = file.read().strip().partition(":")
    except FileNotFoundError:
        return "", ""
    return role, address


def _name(roster, uuid):
    return roster.hosts[uuid].name if uuid in roster.hosts else uuid


def _ask(session, method, *params):
    return Xapi(session, Deadline(CALL_TIMEOUT_S)).call(method, *params)
