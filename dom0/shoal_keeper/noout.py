"""This host's OSDs stay in the cluster while it reboots, whoever had it reboot: Ceph's flag `noout` for its storage VM.

Set when the host goes down, taken back when its OSDs are up again. If it stays away for longer, a volume service takes
the flag back: data that have lost a copy must get another.
"""

from . import failover_roster
from .failover_ceph import Services
from .services import Silent

AWAY_S = 1800  # longer than any reboot
AGAIN_S = 60.0


def hold(roster):
    """A phrase that says what became of it; "" where there is nothing to hold."""
    machine = _machine(roster)
    if not machine:
        return ""
    try:
        held = _services(roster).hold_noout(roster.pools[0], machine, AWAY_S)
    except Silent as error:
        return "noout is NOT set for %s: %s" % (machine, error)
    return "noout is set for %s" % machine if held else "noout had been set for %s by somebody else" % machine


class Return:
    """Once for each start of the keeper: it does not know what the one before it has done."""

    def __init__(self):
        self._next_at = 0.0
        self._is_done = False

    def update(self, seen):
        """Says what was done, if anything."""
        if self._is_done or seen.host.told_to_rest or seen.uptime_s < self._next_at or not _is_back(seen):
            return []
        self._next_at = seen.uptime_s + AGAIN_S
        roster = failover_roster.load()
        machine = _machine(roster)
        if machine != seen.storage_vm.name:
            return []  # it is not known yet, or not any more
        try:
            was_held = _services(roster).release_noout(roster.pools[0], machine)
        except Silent as error:
            return ["cannot take noout back for %s: %s" % (machine, error)]
        self._is_done = True
        return ["takes noout back for %s" % machine] if was_held else []


def _is_back(seen):
    vm = seen.storage_vm
    if vm is None or vm.power_state != "Running" or vm.resident_on != seen.host.ref or seen.ceph.silence:
        return False
    return all(osd.machine != vm.name for osd in seen.ceph.osds_down)


def _machine(roster):
    """The storage VM that stands for this host in Ceph; "" for none."""
    return roster.hosts[roster.own].machine if roster is not None and roster.pools else ""


def _services(roster):
    services = Services()
    services.use(roster.services)
    return services
