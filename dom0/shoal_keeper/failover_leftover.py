"""Disks that a start which broke off has left mapped on this host, of VMs that a keeper has in hand. Nobody could start those.

This host shuts its own map out of Ceph, as it would be if it were dead: whoever uses it after all damages nothing. It does
not unmap it: another disk may get the device's number while a start that is only slow still has its name.
"""

from shoal_dom0 import datapath

from . import domains, failover

LEFT_S = 60.0  # so long nothing was done with the VM, and nothing else is known to use the map


class Leftover:
    def __init__(self, services, say):
        self._services = services
        self._say = say
        self._since = {}  # (VM, addresses) → uptime at which that was first seen

    def __bool__(self):
        return bool(self._since)

    def update(self, sight, roster, uptime_s):
        self._since = {each: self._since.get(each, uptime_s) for each in left(sight)}
        ripe = [each for each, since in self._since.items() if uptime_s - since >= LEFT_S]
        here = domains.on_shoal() if ripe else {}
        for vm, addresses in sorted(ripe, key=lambda each: each[0]):
            mine = addresses & self._own_clients(roster)
            if mine and vm not in here:
                self._services.fence(roster.pools[0], mine)
                self._say("failover: fenced %s: this host, for a start of the VM %s broke off" % (", ".join(sorted(mine)), vm), True)

    def _own_clients(self, roster):
        """By the kernel, not by the address: that may be another host's by now."""
        try:
            known = datapath.clients()
        except OSError:  # a device went while the kernel was asked of it: the next look asks again
            return set()
        owners, _ = self._services.owners(roster.pools)
        return {address for _, _, client, address in owners if client in known}


def left(sight):
    """VMs that are off and in hand, and that wait for this host alone: each with the clients that hold its disks."""
    found = set()
    for guest in sight.guests:
        writers = failover.writers_of(guest, sight)
        is_idle = guest.claim and guest.power_state == "Halted" and not guest.is_busy
        if is_idle and writers and all(host == sight.own for host, _ in writers):
            found.add((guest.uuid, frozenset(address for _, address in writers)))
    return found
