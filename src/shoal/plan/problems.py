"""Why the spec cannot be carried out on this pool. Pure; while there is a problem nothing is touched."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Facts, Host, Sr
from shoal.kit.sizes import format_size
from shoal.plan.ceph_settings import find_contradictions
from shoal.plan.disk_problems import find_disk_problems
from shoal.plan.found import sr_named, vdi_in
from shoal.plan.lvm_problems import find_lvm_problems
from shoal.plan.storage_vm import is_made_from
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import passthrough_sr_name, system_disk_name
from shoal.spec.problem import Problem
from shoal.spec.versions import ceph_problem, ceph_version, kernel_problem, namespace_problem, parse_kernel

# Certificates and CephX tickets tolerate minutes. Beyond this a dom0 keeps no time at all; monitors need 0.05 s, but
# they run in the storage VMs, and Ceph itself says when those drift.
CLOCK_SKEW_LIMIT_S = 5.0


def find_problems(spec: Spec, facts: Facts) -> tuple[Problem, ...]:
    is_own = spec.ceph.existing is None
    found = [*(_of_own_cluster(spec, facts) if is_own else _of_existing(facts)), *_of_pool(spec, facts)]
    for index, host in enumerate(spec.hosts):
        seen = facts.host(host.name)
        where = f"hosts.{index}"
        if seen is None:
            others = ", ".join(sorted(other.name for other in facts.hosts))
            found.append(Problem(f"the pool has no host {host.name}", f"its hosts are {others}", f"{where}.name"))
            continue
        found += _of_host(seen, where)
        if is_own:
            found += find_disk_problems(host, seen, facts, where)
            found += _of_local_sr(spec, facts, host.name)
            found += _of_storage_vm(spec, facts, host, where)
    return tuple(found)


def _of_own_cluster(spec: Spec, facts: Facts) -> Iterator[Problem]:
    pool = facts.pool
    if pool.ha_enabled:
        what = "the pool's HA is on; with it a host whose shared SR is away cannot start the storage VMs that serve it"
        yield Problem(what, "xe pool-ha-disable", "pool")
    if spec.network.public.bridge not in pool.networks:
        known = ", ".join(sorted(pool.networks))
        what = f"the pool has no network with bridge {spec.network.public.bridge}"
        yield Problem(what, f"it has {known}", "network.public.bridge")
    version = ceph_version(spec.ceph.image, spec.ceph.version)
    if not version:
        what = "the image's name does not tell Ceph's version"
        yield Problem(what, 'write ceph.version, such as "19.2.3"', "ceph.image")
    elif ceph_problem(version):
        yield Problem(ceph_problem(version), "name an image of a later release", "ceph.image")
    yield from find_contradictions(spec, facts)


def _of_existing(facts: Facts) -> Iterator[Problem]:
    if not facts.wanted_digests.get("authority"):
        what = "there is no certificate authority: the folder has no file ca.pem that can be read"
        yield Problem(what, "shoal volume-service makes one", "ceph.existing.authority")


def _of_pool(spec: Spec, facts: Facts) -> Iterator[Problem]:
    wanted = {host.name for host in spec.hosts}
    for host in facts.hosts:
        if host.name not in wanted:
            what = f"the pool's host {host.name} is not in the spec; a shared SR must be plugged on every host"
            yield Problem(what, f"add {host.name} to hosts, or take it out of the pool", "hosts")
    for index, sr in enumerate(spec.srs):
        if sr.namespace:
            yield from _of_namespace(facts, f"srs.{index}.namespace")
        there = sr_named(facts, sr.name)
        if there and (there.type != sr.type or not there.shared):
            kind = "shared" if there.shared else "local"
            what = f"the pool already has an SR {sr.name!r}: {kind}, of type {there.type}"
            yield Problem(what, "give Shoal's SR another name", f"srs.{index}.name")
        elif there and sr.type == "rbd":
            yield from _of_other_place(sr, there, f"srs.{index}")
        elif sr.type == "lvm":
            yield from find_lvm_problems(spec, facts, sr, f"srs.{index}")


def _of_namespace(facts: Facts, where: str) -> Iterator[Problem]:
    for host in facts.hosts:
        if host.dom0 and (problem := namespace_problem(parse_kernel(host.dom0.kernel))):
            what = f"{host.name} has kernel {host.dom0.kernel}: {problem}"
            yield Problem(what, "update the host, or leave namespace out", where)


def _of_other_place(sr: model.Sr, there: Sr, where: str) -> Iterator[Problem]:
    """Another pool or namespace has other disks: the SR's own would be lost from sight."""
    for pbd in there.pbds:
        for key, wanted in (("pool", sr.pool), ("namespace", sr.namespace or "")):
            seen = pbd.device_config.get(key, "")
            if "pool" in pbd.device_config and seen != wanted:
                place = f"{key} {seen!r}" if seen else f"no {key}"
                what = f"SR {sr.name!r} is in {place} on {pbd.host}, where its disks are"
                yield Problem(what, f"write {key}: {seen}" if seen else f"leave {key} out", f"{where}.{key}")
                return


def _of_host(host: Host, where: str) -> Iterator[Problem]:
    if host.maintenance:
        what = f"{host.name} is in maintenance since {host.maintenance}"
        yield Problem(what, f"shoal host maintenance exit {host.name}", where)
        return
    if not host.live:
        yield Problem(f"the pool says that {host.name} is not live", "start it, or look at its network", where)
        return
    if not host.enabled:
        yield Problem(f"{host.name} is disabled (maintenance mode)", f"xe host-enable host={host.name}", where)
    if host.dom0 is None:
        what = f"no SSH to {host.name} at {host.address}: {host.unreachable or 'no reason known'}"
        yield Problem(what, f"try: ssh root@{host.address}", where)
        return
    dom0 = host.dom0
    if abs(dom0.clock_skew_s) > CLOCK_SKEW_LIMIT_S:
        direction = "ahead of" if dom0.clock_skew_s > 0 else "behind"
        what = f"the clock of {host.name} is {abs(dom0.clock_skew_s):.0f} s {direction} this machine's"
        yield Problem(what, "set up NTP on both: chronyc tracking", where)
    if dom0.missing_tools:
        what = f"dom0 of {host.name} lacks {', '.join(dom0.missing_tools)}"
        yield Problem(what, "install what is missing; a stock dom0 has it", where)
    kernel = kernel_problem(parse_kernel(dom0.kernel))
    if kernel:
        yield Problem(f"{host.name} has kernel {dom0.kernel}: {kernel}", "update the host", where)
    elif not dom0.has_rbd:
        yield Problem(f"dom0 of {host.name} has no kernel module rbd", "update the host: a stock dom0 has it", where)


def _of_local_sr(spec: Spec, facts: Facts, host: str) -> Iterator[Problem]:
    wanted = spec.storage_vm.system_disk
    sr = sr_named(facts, wanted.sr, host=host)
    if sr is None:
        known = sorted(sr.name for sr in facts.srs if any(pbd.host == host for pbd in sr.pbds))
        known = [name for name in known if name != passthrough_sr_name(host)]
        what = f"{host} has no SR {wanted.sr!r}"
        yield Problem(what, f"it has {', '.join(known) or 'none'}", "storage_vm.system_disk.sr")
        return
    if not any(pbd.host == host and pbd.attached for pbd in sr.pbds):
        what = f"SR {wanted.sr!r} is not plugged on {host}"
        yield Problem(what, "xe pbd-plug it first", "storage_vm.system_disk.sr")
        return
    if vdi_in(facts, sr, system_disk_name(host)) is not None:
        return
    if not facts.wanted_digests.get("storage_vm_image"):
        what = f"cannot read {spec.storage_vm.image}, which the storage VM of {host} shall be made from"
        yield Problem(what, "name the storage VM's raw disk image", "storage_vm.image")
    free = sr.physical_size_bytes - sr.physical_utilisation_bytes
    if free < wanted.size:
        what = f"SR {wanted.sr!r} of {host} has {format_size(max(free, 0))} free, wanted {format_size(wanted.size)}"
        yield Problem(what, "make room there, or write a smaller size", "storage_vm.system_disk.size")


def _of_storage_vm(spec: Spec, facts: Facts, host: model.Host, where: str) -> Iterator[Problem]:
    vm, seen = facts.storage_vm(host.name), facts.host(host.name)
    is_running = vm is not None and vm.power_state == "Running"
    if seen and not is_running and seen.live and seen.memory_free_bytes < spec.storage_vm.memory:
        free, wanted = format_size(seen.memory_free_bytes), format_size(spec.storage_vm.memory)
        what = f"{host.name} has {free} of memory free, and its storage VM needs {wanted}"
        yield Problem(what, "shut down or move a VM, or write less", "storage_vm.memory")
    if vm and vm.settings_digest and not is_made_from(spec, host, vm.settings_digest):
        what = f"the storage VM of {host.name} was made from other settings; changing them is not yet in this version"
        yield Problem(what, "put address, network, vcpus and memory back to what they were", where)
