"""Ceph clients that this host was before its boot, and that still count as alive there: shut out, so that nobody waits
half a minute for Ceph to miss them.

That they are dead is sure: they have an address that this host has now, and its kernel does not know them.
"""

import socket

from shoal_dom0 import datapath

from .services import Silent

BOOTED_S = 300.0  # so long after a boot there may be any
SETTLE_S = 4.0  # the kernel has an image's lock a moment before it shows the device


class Past:
    def __init__(self, services, say):
        self._services = services
        self._say = say
        self._since = {}  # address → uptime at which it was first seen
        self._is_over = False

    def update(self, roster, uptime_s):
        if self._is_over or uptime_s > BOOTED_S:
            return
        try:
            self._update(roster, uptime_s)
        except (Silent, OSError):
            pass  # the pool is not active yet, and the keeper says so; or a device went while the kernel was asked of it

    def _update(self, roster, uptime_s):
        owners, silent = self._services.owners(roster.pools)
        held = {
            (client, address)
            for _, image, client, address in owners
            if image.startswith("vdi-") and roster.host_at(address) == roster.own
        }
        known = datapath.clients()  # after that: a disk that was mapped meanwhile is known
        strange = {address for client, address in held if client not in known}
        strange -= self._services.fenced(roster.pools[0])
        self._since = {address: self._since.get(address, uptime_s) for address in strange}
        past = {address for address, since in self._since.items() if uptime_s - since >= SETTLE_S}
        # The roster may be of before the boot, and one of its addresses another host's by now.
        past = {address for address in past if _is_here(address)}
        if past:
            self._services.fence(roster.pools[0], past)
            self._say("failover: fenced %s: this host, before its boot" % ", ".join(sorted(past)), False)
        self._is_over = not silent and not strange - past


def _is_here(client):
    """Whether this host has the address of a Ceph client: only then the kernel lets a socket have it."""
    address = client.rpartition(":")[0].strip("[]")
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
