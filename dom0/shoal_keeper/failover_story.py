"""Tells people of a host that died: XenAPI messages about that host, when its VMs run elsewhere or cannot for now.

The keeper that leads raises them, if no other has, and puts new ones in their place once there is nothing to wait for
any more. The host's own keeper takes them back when it runs again.
"""

from shoal_dom0.xapi import ignore_gone

from . import alerts, failover

DEAD, UNFENCED = "SHOAL_HOST_DEAD", "SHOAL_VMS_NOT_FENCED"
START_PATIENCE_S = 180.0  # so long VMs have to start elsewhere before it is told that they have not
IDLE_PATIENCE_S = 600.0  # a host from which nothing was lost may be rebooting
NAMES_MAX = 20


class Story:
    def __init__(self, call, say):
        self._call = call
        self._say = say
        self._since = {}  # dead host → uptime at which it was first seen dead
        self._lost = {}  # dead host → VM → Lost, as it was first seen: what is started elsewhere is no more in sight as lost
        self._told = {}  # dead host → names of the messages that were raised, at first or since
        self._is_all_told = set()

    def update(self, sight, roster, uptime_s):
        if sight.silent:
            self._say("failover: pool %s does not answer: its VMs stay as they are" % ", ".join(sorted(sight.silent)), True)
        dead = {peer.uuid for peer in sight.peers if peer.uuid != sight.own and failover.is_dead(peer)}
        self._told = {host: names for host, names in self._told.items() if host in dead}
        self._is_all_told &= dead
        self._since = {host: self._since.get(host, uptime_s) for host in dead}
        self._lost = {host: self._lost.get(host, {}) for host in dead}
        for lost in sight.lost:
            if lost.host in dead:
                self._lost[lost.host][lost.vm] = lost
        for host in sorted(dead - self._is_all_told):
            is_fenced = not failover.unfenced_clients(host, sight)
            if is_fenced and sight.locks.get(host) == sight.own:
                self._tell(host, sight, roster, uptime_s - self._since[host])

    def _tell(self, host, sight, roster, dead_s):
        started, late, left = _fates(self._lost[host].values(), sight, roster)
        patience_s = START_PATIENCE_S if late else 0.0 if started or left else IDLE_PATIENCE_S
        is_first, is_all = host not in self._told, not (late or sight.silent)
        if dead_s < patience_s or not (is_first or is_all):
            return
        bodies = {DEAD: _body(roster.hosts[host].name, started, late, left) + _body_of_silent(sight.silent)}
        unfenced = [lost for lost in self._lost[host].values() if lost.is_marked and lost.hindrance]
        if unfenced:
            bodies[UNFENCED] = _body_of_unfenced(roster.hosts[host].name, unfenced)
        known = alerts.find(self._call, "Host", host)
        outdated = {} if is_first else {name: known[name] for name in bodies if name in known}
        told = self._told.get(host, frozenset())  # what is not known any more, a person has dismissed
        for name in sorted(name for name in bodies if name in outdated or name not in told | set(known)):
            alerts.create(self._call, "Host", host, name, bodies[name])
            self._say("failover: raises %s about host %s" % (name, roster.hosts[host].name), True)
        for ref in frozenset().union(*outdated.values()):
            ignore_gone(self._call, "message.destroy", ref)
        # One that was there at first is another keeper's, or an earlier run's: it knew of VMs that have been started since.
        if is_all or (is_first and DEAD in known):
            self._is_all_told.add(host)
        self._told[host] = told | set(bodies)


def _fates(lost, sight, roster):
    """Phrases about the VMs that run elsewhere, that shall and do not yet, and that are left as they were."""
    guests = {guest.uuid: guest for guest in sight.guests}
    started, late, left = [], [], []
    for each in sorted(lost, key=lambda one: one.name):
        guest = guests.get(each.vm)
        place = guest.resident_on if guest is not None and guest.power_state == "Running" else ""
        if place not in ("", each.host) and place in roster.hosts:
            started.append("%s on %s" % (each.name, roster.hosts[place].name))
        elif each.hindrance:
            left.append("%s (%s)" % (each.name, each.hindrance))
        else:
            late.append(each.name)
    return started, late, left


def _body(name, started, late, left):
    parts = [
        "Host %s is dead or cut off: it does not answer, and shows no sign of life in Ceph. "
        "It is shut out from Shoal's disks (fenced)." % name
    ]
    if started:
        parts.append("Started elsewhere: %s." % _some(started))
    if late:
        parts.append(
            "Not started yet: %s. They are tried on; a host needs enough free memory and Shoal's SRs plugged." % _some(late)
        )
    if left:
        parts.append("Not restarted: %s." % _some(left))
    return " ".join(parts)


def _body_of_silent(pools):
    if not pools:
        return ""
    return " Ceph pool %s does not answer: VMs with a disk there stay as they are until it does, and their host is not fenced from it." % (
        ", ".join(sorted(pools))
    )


def _body_of_unfenced(name, unfenced):
    return (
        "Marked shoal:restart=true and not restarted: %s. Nothing keeps host %s, if it is only cut off, from writing to those"
        " disks. Make sure that it is off; then xe vm-reset-powerstate and xe vm-start."
        % (_some(["%s (%s)" % (lost.name, lost.hindrance) for lost in unfenced]), name)
    )


def _some(phrases):
    more = len(phrases) - NAMES_MAX
    return ", ".join(phrases[:NAMES_MAX]) + (" and %d more" % more if more > 0 else "")
