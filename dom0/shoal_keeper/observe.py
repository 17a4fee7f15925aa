"""One look at all that the keeper decides upon: the pool's records, the volume services, this host's own clock.

Reads only. A call that fails fails the look: nothing is decided on half of what there is.
"""

import calendar
import os
import re
import time

from . import services
from .state import NULL, Ceph, Host, LocalPbd, LvmPbd, Pbd, Pool, Seen, Vm
from .toolstack import Refused

INVENTORY = "/etc/xensource-inventory"
PROC = "/proc"
SR_TYPE = "rbd"
LVM_SR_TYPE = "lvm"
LVM_DEVICE = re.compile("/dev/rbd/[^/]+/lvm-[^/]+")  # what those of Shoal's lie on: the name of its image is Shoal's
POOL_MARK = "shoal:ssh-key"  # set where there are storage VMs
KIT_MARK = "shoal:kit"  # set on each host that takes part, with or without
HOST_MARK = "shoal:host"
STORAGE_VM = "shoal-storage-%s"
SETTINGS_MARK = "shoal:settings"
REST_MARK = "shoal:maintenance"
LEAVING = "leaving "  # its value begins so while the host's VMs are being moved away
LOCK_MARK = "shoal:lock"
RENEWED_MARK = "shoal:lock-renewed"
WAITS_MARK = "shoal:lock-waits"  # its holder only waits, for hours perhaps: that is no reason to rest
AUTO_POWERON = "auto_poweron"
LOCK_STALE_S = 90.0


class Observer:
    """`memory` of its own only saves calls: which VM is this host's storage VM, where VMs' disks lie, and since when the
    lock stands still.
    """

    def __init__(self, toolstack):
        self._toolstack = toolstack
        self._storage_vm = None
        self._srs = {}  # VM → (its VBDs, the SRs of its disks)
        self._lock = ("", 0.0)
        self._started = {}  # VM → (its domain, since when it runs, whether two looks agree on that)

    def look(self, memory, under_way):
        """What memory says is owed decides how much is looked at."""
        call = self._toolstack.call
        uptime_s = read_uptime_s()
        (pool_record,) = call("pool.get_all_records").values()
        ref = call("host.get_by_uuid", own_uuid())
        host_record = call("host.get_record", ref)
        host = _host(ref, host_record)
        pool = self._pool(pool_record, ref, KIT_MARK in host_record["other_config"], uptime_s)
        storage_vm, ceph, pbds, unplugged, vms, residents, resting = None, Ceph("not asked"), (), (), (), (), ()
        lvm_pbds = ()
        if pool.is_marked and not pool.ha_enabled:
            storage_vm = self._find_storage_vm(host) if pool.keeps_ceph else None
            here = _where(call, "PBD", "host", host.ref)
            spreads_vms = memory.owes_starts and pool.is_master
            ceph, pbds = self._storage(here, spreads_vms)
            if storage_vm is not None and storage_vm.power_state == "Halted":
                unplugged = self._unplugged(here, storage_vm)
            if memory.owes_starts:
                lvm_pbds = self._lvm_pbds(here, spreads_vms)
                vms = self._marked_vms(host, pool, {pbd.sr for pbd in pbds + lvm_pbds}, memory)
            residents = self._residents(host)
            if pool.is_master and (ceph.osds_down or ceph.monitors_away):
                hosts = call("host.get_all_records").values()
                resting = tuple(sorted(each["name_label"] for each in hosts if may_be_away(each)))
        booted_at = time.time() - uptime_s
        return Seen(
            uptime_s, booted_at, pool, host, storage_vm, ceph, pbds, unplugged, vms, tuple(sorted(under_way)), residents,
            resting, lvm_pbds=lvm_pbds,
        )

    def _pool(self, record, host, host_is_marked, uptime_s):
        marks = record["other_config"]
        return Pool(
            uuid=record["uuid"],
            is_marked=host_is_marked or POOL_MARK in marks,
            keeps_ceph=POOL_MARK in marks,
            ha_enabled=bool(record["ha_enabled"]),
            is_master=record["master"] == host,
            apply_at_work=LOCK_MARK in marks and WAITS_MARK not in marks and not self._lock_is_stale(marks, uptime_s),
        )

    def _lock_is_stale(self, marks, uptime_s):
        """No sign of life for as long as `apply` itself waits. By this host's time alone: no clocks are compared."""
        sign = marks[LOCK_MARK] + marks.get(RENEWED_MARK, "")
        if self._lock[0] != sign:
            self._lock = (sign, uptime_s)
        return uptime_s - self._lock[1] > LOCK_STALE_S

    def _find_storage_vm(self, host):
        """The records of all VMs are read only until it is found."""
        if self._storage_vm is not None:
            record = self._vm_record(self._storage_vm)
            if record is not None and record["other_config"].get(HOST_MARK) == host.name:
                return self._vm(self._storage_vm, record)
        self._storage_vm = None
        vms = self._toolstack.call("VM.get_all_records")
        self._storage_vm = find_storage_vm(vms, host.name)
        return None if self._storage_vm is None else self._vm(self._storage_vm, vms[self._storage_vm])

    def _vm_record(self, ref):
        try:
            return self._toolstack.call("VM.get_record", ref)
        except Refused as error:
            if error.failure[0] != "HANDLE_INVALID":
                raise
            return None

    def _unplugged(self, here, storage_vm):
        """This host's PBDs that the start of its storage VM needs and that are not plugged."""
        call = self._toolstack.call
        srs = self._srs_of(call("VM.get_record", storage_vm.ref))
        return tuple(
            LocalPbd(ref, pbd["uuid"], call("SR.get_name_label", pbd["SR"]))
            for ref, pbd in sorted(here.items())
            if pbd["SR"] in srs and not pbd["currently_attached"]
        )

    def _storage(self, here, spreads_vms):
        """Ceph, and those of this host's PBDs that are of Shoal's SRs."""
        call = self._toolstack.call
        found = []
        srs = _where(call, "SR", "type", SR_TYPE)
        for ref, pbd in here.items():
            if pbd["SR"] in srs and "volumes" in pbd["device_config"]:
                lacking = self._lacking(pbd["SR"]) if spreads_vms else ()
                found.append((_pbd(ref, pbd, srs[pbd["SR"]]["name_label"], lacking), pbd["device_config"]))
        endpoints = sorted({endpoint for _, config in found for endpoint in _list(config, "volumes")})
        ceph = services.look(endpoints) if found else Ceph("no SR of Shoal's on this host")
        pbds = []
        for pbd, config in sorted(found, key=lambda pair: pair[0].uuid):
            if not pbd.attached and not ceph.silence:
                own = _list(config, "volumes")
                silence = services.pool_silence(own, config.get("pool", ""), config.get("namespace", ""))
                pbd = pbd._replace(pool_silence=silence)
            pbds.append(pbd)
        return ceph, tuple(pbds)

    def _lvm_pbds(self, here, spreads_vms):
        """Those of this host's PBDs that are of Shoal's SRs of type lvm."""
        srs = _where(self._toolstack.call, "SR", "type", LVM_SR_TYPE)
        found = []
        for pbd in here.values():
            if pbd["SR"] in srs and LVM_DEVICE.fullmatch(pbd["device_config"].get("device", "")):
                lacking = self._lacking(pbd["SR"]) if spreads_vms else ()
                name = srs[pbd["SR"]]["name_label"]
                found.append(LvmPbd(pbd["SR"], name, bool(pbd["currently_attached"]), lacking))
        return tuple(sorted(found))

    def _lacking(self, sr):
        """Names of the live and enabled hosts where the SR is not plugged."""
        call, names = self._toolstack.call, []
        for pbd in _where(call, "PBD", "SR", sr).values():
            if pbd["currently_attached"]:
                continue
            host = call("host.get_record", pbd["host"])
            if host["enabled"] and call("host_metrics.get_live", host["metrics"]):
                names.append(host["name_label"])
        return tuple(sorted(names))

    def _marked_vms(self, host, pool, srs, memory):
        """VMs marked to start that this host's keeper may owe a start, with a disk on one of these SRs.

        Where the disks of one lie that is settled is not asked again: it counts for its order and delay alone.
        """
        call = self._toolstack.call
        hosts = set(call("host.get_all"))
        found = []
        for ref, record in call("VM.get_all_records").items():
            if not _is_marked(record):
                continue
            affinity = record["affinity"] if record["affinity"] in hosts else NULL
            uuid = record["uuid"]
            is_settled = uuid in memory.settled
            is_lost = uuid in memory.lost and (is_settled or self._start_time(record) == memory.lost[uuid])
            if affinity != host.ref and not is_lost and not (affinity == NULL and pool.is_master):
                continue
            own = () if is_settled else tuple(sorted(srs & self._known_srs(ref, record)))
            if own or is_settled:
                found.append(self._vm(ref, record)._replace(affinity=affinity, srs=own, is_lost_here=is_lost))
        return tuple(sorted(found, key=lambda vm: vm.uuid))

    def _residents(self, host):
        """The VMs marked to start that run here, and since when: asked again only of a domain that is new.

        xapi writes the new domain first, and since when it runs a moment later.
        """
        running = _where(self._toolstack.call, "VM", "resident_on", host.ref)
        known, self._started = self._started, {}
        for ref, record in running.items():
            if _is_marked(record):
                domain, since, is_sure = known.get(ref, (None, 0.0, False))
                if domain != record["domid"] or not is_sure:
                    before, since = since, self._start_time(record)
                    is_sure = domain == record["domid"] and since == before
                self._started[ref] = (record["domid"], since, is_sure)
        return tuple(sorted((running[ref]["uuid"], since) for ref, (_, since, _) in self._started.items()))

    def _start_time(self, record):
        """Of its last start, also when it is off."""
        if record["metrics"] == NULL:
            return 0.0
        return read_time(self._toolstack.call("VM_metrics.get_start_time", record["metrics"]))

    def _known_srs(self, ref, record):
        """Asked again only when its VBDs are others: to ask of each disk in each round would take longer than the round."""
        if ref not in self._srs or self._srs[ref][0] != record["VBDs"]:
            self._srs[ref] = (record["VBDs"], self._srs_of(record))
        return self._srs[ref][1]

    def _srs_of(self, vm):
        vdis = [self._toolstack.call("VBD.get_VDI", vbd) for vbd in vm["VBDs"]]
        return {self._toolstack.call("VDI.get_SR", vdi) for vdi in vdis if vdi != NULL}

    def _vm(self, ref, record):
        started_at = self._start_time(record) if record["power_state"] == "Running" else 0.0
        return Vm(
            ref=ref,
            uuid=record["uuid"],
            name=record["name_label"],
            power_state=record["power_state"],
            resident_on=record["resident_on"],
            affinity=record["affinity"],
            is_busy=bool(record["current_operations"]),
            order=int(record["order"]),
            start_delay_s=int(record["start_delay"]),
            started_at=started_at,
            is_complete=SETTINGS_MARK in record["other_config"],
        )


def read_uptime_s():
    with open(os.path.join(PROC, "uptime")) as file:
        return float(file.read().split()[0])


def read_boot():
    with open(os.path.join(PROC, "sys/kernel/random/boot_id")) as file:
        return file.read().strip()


def own_uuid():
    """This host's uuid in the pool."""
    with open(INVENTORY) as file:
        for line in file:
            name, _, value = line.partition("=")
            if name == "INSTALLATION_UUID":
                return value.strip().strip("'\"")
    raise ValueError("%s has no INSTALLATION_UUID" % INVENTORY)


def read_time(text):
    """Seconds since 1970 of a XenAPI time: 20260102T03:04:05Z, newer releases with dashes."""
    digits = text.replace("-", "")[:17]
    return float(calendar.timegm(time.strptime(digits, "%Y%m%dT%H:%M:%S")))


def may_be_away(host):
    """Whether its record says that it is being serviced, and that its VMs have left for that: it is not taken for dead."""
    return REST_MARK in host["other_config"] and not host["other_config"][REST_MARK].startswith(LEAVING)


def _host(ref, record):
    return Host(
        ref=ref,
        uuid=record["uuid"],
        name=record["name_label"],
        enabled=bool(record["enabled"]),
        told_to_rest=REST_MARK in record["other_config"],
        may_be_away=may_be_away(record),
    )


def _pbd(ref, record, sr_name, lacking):
    config = record["device_config"]
    return Pbd(
        ref=ref,
        uuid=record["uuid"],
        sr=record["SR"],
        sr_name=sr_name,
        attached=bool(record["currently_attached"]),
        monitors=tuple(sorted(_list(config, "monitors"))),
        fsid=config.get("fsid", ""),
        lacking=lacking,
    )


def _list(config, key):
    return [part.strip() for part in config.get(key, "").split(",") if part.strip()]


def find_storage_vm(vms, host):
    """Ref of that host's, None for none: by Shoal's mark. A copy that a person made has it, too, but not the name."""
    marked = [ref for ref, vm in vms.items() if _is_ordinary(vm) and vm["other_config"].get(HOST_MARK) == host]
    named = [ref for ref in marked if vms[ref]["name_label"] == STORAGE_VM % host]
    return next(iter(named or marked), None)


def _is_ordinary(vm):
    return not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])


def _is_marked(vm):
    """Whether it is an ordinary VM that starts with a host."""
    marks = vm["other_config"]
    return _is_ordinary(vm) and marks.get(AUTO_POWERON) == "true" and HOST_MARK not in marks


def _where(call, kind, field, value):
    """Records whose field is that; xapi need not agree on what an expression means."""
    found = call("%s.get_all_records_where" % kind, 'field "%s" = "%s"' % (field, value))
    return {ref: record for ref, record in found.items() if record[field] == value}
