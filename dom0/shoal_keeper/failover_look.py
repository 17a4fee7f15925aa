"""One look at the pool and at Ceph for failover. Made only when a host is missed, or something is in hand: it reads much.

What cannot be seen fails the look: nothing is decided on half of what there is.
"""

from shoal_dom0.xapi import is_gone

from . import domains
from .failover import CLAIM_MARK, RESTART_MARK, Guest, Lost, Peer, Sight, is_dead
from .failover_roster import shoals_configs
from .observe import HOST_MARK, KIT_MARK, POOL_MARK, REST_MARK, may_be_away
from .state import NULL
from .toolstack import Refused


class StandsBack(Exception):
    """Failover is not wanted now; the text says why."""


class Records:
    """The pool's records, read once for one look."""

    def __init__(self, call, own):
        (self.pool,) = call("pool.get_all_records").values()
        self.hosts = call("host.get_all_records")
        self.own = next((host for host in self.hosts.values() if host["uuid"] == own), None)
        self._refuse()
        self.metrics = call("host_metrics.get_all_records")
        self.pbds = call("PBD.get_all_records").values()
        self.srs = shoals_configs(call)
        self.vms = call("VM.get_all_records")
        self.images, sr_of = {}, {}  # VDI → (pool, namespace, image)
        self.busy = set()  # images with which something is being done
        self.users = {}  # image → VMs that have it now, the hosts' own among them
        self.places = set()  # (pool, namespace) of each of Shoal's SRs
        for sr, config in self.srs.items():
            place = (config["pool"], config.get("namespace", ""))
            self.places.add(place)
            for ref, vdi in call("VDI.get_all_records_where", 'field "SR" = "%s"' % sr).items():
                self.images[ref] = place + ("vdi-" + vdi["location"],)
                sr_of[ref] = sr
                if vdi["current_operations"]:
                    self.busy.add(self.images[ref])
        self.silent = frozenset()  # those of them that do not answer
        self.disks = {}  # VM → images
        self.written = {}  # VM → those that it may write to
        self.plugged = {}  # VM → those of them that it has now
        self.on = {}  # VM → Shoal's SRs that they lie on
        self.unfenced = {}  # VM → what it writes to beside them, from which no Ceph shuts a host out
        for vbd in call("VBD.get_all_records").values():
            if vbd["VDI"] in self.images:
                self.disks.setdefault(vbd["VM"], set()).add(self.images[vbd["VDI"]])
                self.on.setdefault(vbd["VM"], set()).add(sr_of[vbd["VDI"]])
                if vbd["currently_attached"]:
                    self.users.setdefault(self.images[vbd["VDI"]], set()).add(vbd["VM"])
                if vbd["current_operations"]:
                    self.busy.add(self.images[vbd["VDI"]])
                if vbd["mode"] == "RW":
                    self.written.setdefault(vbd["VM"], set()).add(self.images[vbd["VDI"]])
                    if vbd["currently_attached"]:
                        self.plugged.setdefault(vbd["VM"], set()).add(self.images[vbd["VDI"]])
            elif vbd["mode"] == "RW" and not vbd["empty"]:
                self.unfenced[vbd["VM"]] = vbd["VDI"]

    def _refuse(self):
        if self.own is None:
            raise StandsBack("this host has left the pool")
        if POOL_MARK not in self.pool["other_config"] and KIT_MARK not in self.own["other_config"]:
            raise StandsBack("Shoal has not set up this pool")
        if self.pool["ha_enabled"]:
            raise StandsBack("xapi's high availability is on")
        if may_be_away(self.own):
            raise StandsBack("the host carries the mark %s" % REST_MARK)

    def uuid(self, host):
        return self.hosts[host]["uuid"] if host in self.hosts else ""

    def guests(self):
        """VMs with a disk on Shoal's SRs: ref and record."""
        for ref, vm in self.vms.items():
            if ref in self.disks and _is_ordinary(vm) and not self.is_unseen(ref):
                yield ref, vm

    def is_unseen(self, ref):
        """Whether it has a disk in a pool that does not answer: who writes to it, nobody can say. So it is left as it is."""
        return any(image[:2] in self.silent for image in self.disks.get(ref, ()))

    def is_busy(self, ref):
        vm, disks = self.vms[ref], self.disks[ref]
        used = any(self.users.get(image, set()) - {ref} for image in disks)
        return bool(vm["current_operations"]) or vm["scheduled_to_be_resident_on"] != NULL or bool(disks & self.busy) or used

    def hindrance(self, call, ref, is_marked):
        """Why a VM is not restarted, "" when it is."""
        if not is_marked:
            return "not marked %s=true" % RESTART_MARK
        if ref in self.unfenced:
            try:
                sr = call("SR.get_name_label", call("VDI.get_SR", self.unfenced[ref]))
            except Refused as error:
                if not is_gone(error):
                    raise
                sr = "that is gone"
            return "its disk on SR %s cannot be fenced" % sr
        return "" if ref in self.disks else "it has no disk on an SR of Shoal's"


def _is_ordinary(vm):
    is_vm = not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])
    return is_vm and HOST_MARK not in vm["other_config"]


def look(call, services, roster, presence, here):
    """`presence` knows of each host what Ceph and the network say: `signs(uuid)`, and which VMs shun it.

    `here` are the VMs that run on this host, where strays are looked for.
    """
    records = Records(call, roster.own)
    peers = tuple(_peer(call, records, ref, presence) for ref in sorted(records.hosts))
    owners = {}  # (pool, namespace, image) → {(host, address)}
    found, silent = services.owners(records.places)  # the roster's may be minutes old
    for place, image, _, address in found:
        owners.setdefault(place + (image,), set()).add((roster.host_at(address), address))
    records.silent = silent
    dead = {peer.uuid for peer in peers if peer.uuid != roster.own and is_dead(peer)}
    guests = tuple(_guest(records, ref, vm, owners, presence) for ref, vm in records.guests())
    fenced = services.fenced(roster.pools[0])
    guests = tuple(
        _without_gone(guest, services, owners, dead, fenced) if guest.claim == roster.own else guest for guest in guests
    )
    return Sight(
        own=roster.own,
        has_quorum=True,
        without_quorum_s=0.0,
        peers=peers,
        guests=guests,
        locks={uuid: _leader(services, roster, uuid, silent) for uuid in sorted(dead)},
        acknowledged=fenced,
        strays=_strays(records, roster.own, here),
        shut_out=_shut_out(records, roster.own, here, owners, fenced),
        clients=frozenset(owner for found in owners.values() for owner in found),
        lost=tuple(_lost(call, records, dead)),
        master=records.uuid(records.pool["master"]),
        silent=frozenset(pool for pool, _ in silent),
        waits_for_pool=any(
            vm["other_config"].get(CLAIM_MARK) == roster.own and records.is_unseen(ref) for ref, vm in records.vms.items()
        ),
    )


def _leader(services, roster, dead, silent):
    """Several may lead where the pool with the locks does not answer: it saves work, and nothing relies on it."""
    if roster.pools[0] in silent:
        return roster.own
    # To ask for a lock is to take it, or to renew it: there is no other way to see who has it.
    return services.take_lock(roster.pools[0], "failover-" + dead, roster.own)


def look_at_own(own, alone_s):
    """What a host without quorum knows: the VMs that run on it."""
    guests = tuple(Guest(uuid, "Running", own, False, "") for uuid in sorted(domains.on_shoal()))
    return Sight(own, False, alone_s, (), guests, {}, frozenset())


def _peer(call, records, ref, presence):
    host = records.hosts[ref]
    metrics = records.metrics.get(host["metrics"], {"live": False})
    signs = presence.signs(host["uuid"])
    rests = may_be_away(host)
    attached = {pbd["SR"] for pbd in records.pbds if pbd["host"] == ref and pbd["currently_attached"]}
    can_start = host["enabled"] and metrics["live"] and signs.answers and REST_MARK not in host["other_config"]
    return Peer(
        uuid=host["uuid"],
        beats=signs.answers or rests,
        in_quorum=signs.in_quorum,
        osds_up=signs.osds_up,
        silent_s=signs.silent_s,
        free_memory_bytes=int(call("host.compute_free_memory", ref)) if can_start else 0,
        can_start=bool(can_start),
        beats_in_ceph=signs.beats_in_ceph,
        lacks=frozenset(set(records.srs) - attached),
        rests=rests,
    )


def _is_marked(vm):
    return vm["other_config"].get(RESTART_MARK) == "true"


def _lost(call, records, dead):
    for ref, vm in records.vms.items():
        host = records.uuid(vm["resident_on"])
        if host in dead and vm["power_state"] == "Running" and _is_ordinary(vm):
            hindrance = records.hindrance(call, ref, _is_marked(vm))
            yield Lost(host, vm["uuid"], vm["name_label"], _is_marked(vm), hindrance)


def _guest(records, ref, vm, owners, presence):
    return Guest(
        uuid=vm["uuid"],
        power_state=vm["power_state"],
        resident_on=records.uuid(vm["resident_on"]) if vm["resident_on"] != NULL else "",
        restarts=_is_marked(vm) and ref not in records.unfenced,
        claim=vm["other_config"].get(CLAIM_MARK, ""),
        holders=frozenset(owner for image in records.written.get(ref, ()) for owner in owners.get(image, ())),
        priority=int(vm["order"]),
        memory_bytes=int(vm["memory_static_max"]),
        avoids=presence.shunned_by(vm["uuid"]),
        srs=frozenset(records.on[ref]),
        is_busy=records.is_busy(ref),
    )


def _without_gone(guest, services, owners, dead, fenced):
    """A live host's lock whose owner watches no more is of before it booted: the kernel takes it, as for any start."""
    doubtful = {owner for owner in guest.holders if owner[0] not in dead and owner[1] not in fenced}
    living = set()
    for (pool, namespace, image), found in owners.items():
        if found & doubtful:
            living |= services.living_owners((pool, namespace), image[len("vdi-") :])
    return guest._replace(holders=guest.holders - {owner for owner in doubtful if owner[1] not in living})


def _strays(records, own, here):
    """VMs that run here while the pool has them on another host, or a keeper has them in hand. Not one on its way."""
    found = []
    for _, vm in _settled(records, here):
        resident = records.uuid(vm["resident_on"])
        is_elsewhere = vm["power_state"] == "Running" and resident not in ("", own)
        claim = vm["other_config"].get(CLAIM_MARK, "")
        if is_elsewhere or (vm["power_state"] == "Halted" and claim not in ("", own)):
            found.append(vm["uuid"])
    return tuple(sorted(found))


def _shut_out(records, own, here, owners, fenced):
    """VMs that run here, as the pool says too, but whose disk is fenced from this host, or another host's by now.

    So it is after this host was taken for dead, and is back before it has stopped them: their writes fail for ever. A
    disk that is not plugged into the VM may have a lock of anybody's, or an old one.
    """
    found = []
    for ref, vm in _settled(records, here):
        holders = {owner for image in records.plugged.get(ref, ()) for owner in owners.get(image, ())}
        is_fenced = any(host == own and address in fenced for host, address in holders)
        is_elses = any(host not in ("", own) and address not in fenced for host, address in holders)
        is_held = any(host == own and address not in fenced for host, address in holders)
        is_here = vm["power_state"] == "Running" and records.uuid(vm["resident_on"]) == own
        if is_here and (is_fenced or (is_elses and not is_held)):
            found.append(vm["uuid"])
    return tuple(sorted(found))


def _settled(records, here):
    """The VMs that run here, but for those on their way, and those of which too little is known."""
    for ref, vm in records.vms.items():
        is_on_its_way = vm["current_operations"] or vm["scheduled_to_be_resident_on"] != NULL
        if vm["uuid"] in here and not is_on_its_way and not records.is_unseen(ref):
            yield ref, vm
