"""What is wrong with a pool that Shoal has set up, and what to do: for `status`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shoal.facts import Ceph, Facts
from shoal.kit.sizes import format_size
from shoal.plan.found import sr_named
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import image_in_pool, storage_vm_name

FULL_WARNING = 0.75  # Ceph itself warns at 0.85, when losing a host of three already leaves no room


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    remedy: str


def find_faults(spec: Spec, facts: Facts) -> tuple[Finding, ...]:
    """One line each for what is wrong; none when all is well."""
    own = () if spec.ceph.existing else (*_of_storage_vms(spec, facts), *_of_ceph(spec, facts))
    return (*_of_hosts(spec, facts), *own, *_of_srs(spec, facts))


def _of_hosts(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for host in spec.hosts:
        seen = facts.host(host.name)
        if seen is None:
            yield Finding(f"the pool has no host {host.name}", "add it to the pool, or take it out of the spec")
        elif seen.maintenance:
            what = f"host {host.name} is in maintenance since {seen.maintenance}"
            yield Finding(what, f"shoal host maintenance exit {host.name}")
        elif not seen.live:
            yield Finding(f"host {host.name} is not live", "start it, or look at its power and network")
        elif not seen.enabled:
            yield Finding(f"host {host.name} is disabled", f"xe host-enable host={host.name}")
        elif seen.dom0 is None:
            yield Finding(f"dom0 of {host.name} does not answer: {seen.unreachable}", f"try: ssh root@{seen.address}")


def _of_storage_vms(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for host in spec.hosts:
        vm, name = facts.storage_vm(host.name), storage_vm_name(host.name)
        if vm is None:
            yield Finding(f"there is no storage VM {name}", "shoal apply")
        elif vm.power_state != "Running":
            yield Finding(f"{name} is {vm.power_state.lower()}", f"xe vm-start vm={name}, or shoal apply")
        elif vm.guest is None:
            remedy = f"look at its console: xe console vm={name}"
            yield Finding(f"{name} does not answer: {vm.unreachable or 'no reason known'}", remedy)
        elif not vm.guest.is_ready:
            yield Finding(f"{name} is still setting itself up", "wait a minute; then look at cloud-init status there")
        elif not vm.guest.volume_service_answers:
            yield Finding(f"the volume service of {name} does not answer", "shoal apply")


def _of_ceph(spec: Spec, facts: Facts) -> Iterator[Finding]:
    ceph = facts.ceph
    if ceph is None:
        yield Finding("no Ceph cluster can be seen", "shoal apply")
        return
    if ceph.unreachable:
        yield Finding(f"Ceph does not answer: {ceph.unreachable}", "start the storage VMs; most monitors must be up")
        return
    if ceph.health != "HEALTH_OK":
        words = "; ".join(ceph.health_checks) or "no details"
        yield Finding(f"Ceph says {ceph.health}: {words}", "ceph health detail, in any storage VM")
    yield from _of_daemons(spec, ceph)
    if ceph.total_bytes and ceph.used_bytes / ceph.total_bytes > FULL_WARNING:
        used = f"{ceph.used_bytes / ceph.total_bytes:.0%} of {format_size(ceph.total_bytes)}"
        yield Finding(f"Ceph is filling up: {used}", "add disks, or delete virtual disks: a full cluster stops writing")


def _of_daemons(spec: Spec, ceph: Ceph) -> Iterator[Finding]:
    silent = [mon.name for mon in ceph.mons if not mon.in_quorum]
    if silent:
        yield Finding(f"not in quorum: mon {', '.join(silent)}", "start its storage VM; then ceph orch ps there")
    if not any(mgr.active for mgr in ceph.mgrs):
        yield Finding("no manager is active", "ceph orch ps, in any storage VM")
    for osd in ceph.osds:
        if osd.destroyed:
            yield Finding(
                f"osd.{osd.id} on {osd.host} has no disk any more", "shoal disk replace, or shoal disk remove"
            )
        elif not osd.up:
            yield Finding(f"osd.{osd.id} on {osd.host} is down", "start that storage VM; then ceph osd tree")
        elif not osd.in_cluster:
            remedy = f"a command that empties it is at work, or was cut off: repeat that; else ceph osd in {osd.id}"
            yield Finding(f"osd.{osd.id} on {osd.host} is out", remedy)
    wanted = sum(len(host.disks) for host in spec.hosts)
    there = sum(not osd.destroyed for osd in ceph.osds)
    if there < wanted:
        yield Finding(f"{there} OSDs, and the spec has {wanted} disks", "shoal apply")
    if ceph.pgs and ceph.clean_pgs < ceph.pgs:
        what = f"{ceph.pgs - ceph.clean_pgs} of {ceph.pgs} placement groups are not active+clean"
        yield Finding(what, "Ceph mends them as long as it has hosts enough; ceph -s tells how far it is")


def _of_srs(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for wanted in spec.srs:
        sr = sr_named(facts, wanted.name)
        if sr is None:
            yield Finding(f"there is no SR {wanted.name}", "shoal apply")
            continue
        for host in spec.hosts:
            pbd = next((pbd for pbd in sr.pbds if pbd.host == host.name), None)
            if pbd is None:
                yield Finding(f"SR {sr.name} has no PBD on {host.name}", "shoal apply")
            elif not pbd.attached and _lacks_image(facts, wanted, host.name):
                what = f"SR {sr.name} is not plugged on {host.name}: its image is not mapped there"
                yield Finding(what, "journalctl -u shoal-map-retry there says why; or shoal apply")
            elif not pbd.attached:
                remedy = f"xe pbd-plug uuid={pbd.uuid}, or shoal apply"
                yield Finding(f"SR {sr.name} is not plugged on {host.name}", remedy)


def _lacks_image(facts: Facts, sr: model.Sr, host: str) -> bool:
    seen = facts.host(host)
    if sr.type != "lvm" or seen is None or seen.dom0 is None:
        return False
    return image_in_pool(sr.pool, sr.name) not in seen.dom0.maps.mapped
