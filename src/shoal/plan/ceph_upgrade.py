"""Ceph of another image: whether it may be now, and what that means. Rolling is cephadm's own affair. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Facts
from shoal.facts.ceph_upgrade import CephUpgrade, Daemon
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.found import hidden_ceph
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name
from shoal.spec.versions import Version, ceph_version, exact, kernel_problem, parse_kernel, upgrade_problem

Seen = tuple[Facts, CephUpgrade | None]


def make_plan(spec: Spec, image: str, facts: Facts, seen: CephUpgrade | None) -> Plan:
    """`seen` is None when Ceph does not answer."""
    if spec.ceph.existing is not None:
        return _refuse("the Ceph cluster is somebody else's", "upgrade it as its owner does")
    hidden = hidden_ceph(facts)
    if facts.ceph is None or hidden or seen is None:
        return _refuse(f"Ceph cannot be seen: {hidden or 'there is no cluster'}", "shoal status says more")
    version = ceph_version(image, spec.ceph.version if image == spec.ceph.image else None)
    settings = {
        "image": image,
        "version": exact(version),
        "hosts": tuple(host.name for host in spec.hosts),
        "names": tuple(storage_vm_name(host.name) for host in spec.hosts),
    }
    change, reason = _judge(image, version, seen)
    upgrade = Action("ceph_upgrade", CEPH_CLUSTER, change, reason, settings=settings)
    needs = frozenset({upgrade.id})
    follows, why = Change.NONE, f"runs {image}"
    if change is not Change.NONE or seen.volume_service_images != (image,):
        follows, why = Change.UPDATE, f"runs {', '.join(seen.volume_service_images) or 'nowhere'}, wanted {image}"
    services = Action("volume_services_image", CEPH_CLUSTER, follows, why, needs=needs, settings=settings)
    plan = Plan((upgrade, services))
    return Plan(plan.actions, tuple(_problems(image, version, facts, seen))) if plan.changes else plan


def is_on(daemon: Daemon, image: str, version: str) -> bool:
    """By the image's name; where the orchestrator keeps digests instead, by the version that the name tells."""
    if daemon.image == image:
        return True
    return "@sha256:" in daemon.image and bool(version) and daemon.version == version


def _judge(image: str, version: Version, seen: CephUpgrade) -> tuple[Change, str]:
    others = [daemon for daemon in seen.daemons if not is_on(daemon, image, exact(version))]
    if seen.in_progress:
        return Change.UPDATE, f"is under way: {seen.message or seen.target}; it is followed"
    if not others:
        return Change.NONE, f"all {len(seen.daemons)} daemons run {image}"
    running = sorted({f"{daemon.image} ({daemon.version or 'unknown'})" for daemon in others})
    return Change.UPDATE, f"{len(others)} of {len(seen.daemons)} daemons run {', '.join(running)}, wanted {image}"


def _problems(image: str, version: Version, facts: Facts, seen: CephUpgrade) -> Iterator[Problem]:
    if seen.in_progress and seen.target and not _same(seen.target, image):
        what = f"an upgrade to {seen.target} is under way"
        yield Problem(what, "name that image to follow it, or stop it: ceph orch upgrade stop")
    running = [parsed for daemon in seen.daemons if (parsed := ceph_version("", daemon.version))]
    newest = max(running, default=())
    why = upgrade_problem(newest, min(running, default=()), version)
    if why:
        yield Problem(f"{image}: {why}", "name another image", "ceph.image")
    for host in facts.hosts:
        kernel = kernel_problem(parse_kernel(host.dom0.kernel)) if host.dom0 else ""
        if kernel and host.dom0:
            yield Problem(f"{host.name} has kernel {host.dom0.kernel}: {kernel}", "update the host")
    if not seen.in_progress:  # while it rolls, daemons are down by turns: cephadm itself looks before each
        yield from _of_health(facts, seen)


def _of_health(facts: Facts, seen: CephUpgrade) -> Iterator[Problem]:
    ceph = facts.ceph
    assert ceph is not None
    if ceph.health == "HEALTH_ERR":
        yield Problem(f"Ceph says HEALTH_ERR: {'; '.join(ceph.health_checks) or 'no reason'}", "mend that first")
    if ceph.clean_pgs < ceph.pgs:
        what = f"{ceph.pgs - ceph.clean_pgs} of {ceph.pgs} placement groups are not active and clean"
        yield Problem(what, "wait until they are; shoal status says")
    silent = [mon.name for mon in ceph.mons if not mon.in_quorum]
    if silent:
        yield Problem(f"monitors out of quorum: {', '.join(silent)}", "bring them back first")
    down = [f"osd.{osd.id}" for osd in ceph.osds if not osd.up and not osd.destroyed]
    if down:
        yield Problem(f"OSDs that are down: {', '.join(down)}", "bring them back first")
    disabled = [host.name for host in facts.hosts if not host.enabled or not host.live]
    away = sorted({*seen.maintenance, *disabled})
    if away:
        yield Problem(f"in maintenance or away: {', '.join(away)}", "let them take part again first")


def _same(target: str, image: str) -> bool:
    """The orchestrator names an image by its digest where it can."""
    return target == image or "@sha256:" in target


def _refuse(what: str, remedy: str) -> Plan:
    return Plan((), (Problem(what, remedy),))
