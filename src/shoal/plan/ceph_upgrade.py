"""Ceph of another image: whether it may be now, and what that means. Rolling is cephadm's own affair. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shoal.facts import Ceph, Facts
from shoal.facts.ceph_upgrade import CephUpgrade, Daemon
from shoal.plan import spec_edit
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.found import hidden_ceph, same_value
from shoal.spec.edit import SET_IMAGE, Edit
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name
from shoal.spec.versions import ceph_version, exact, kernel_problem, parse_kernel, upgrade_problem

BY_DIGEST = "mgr/mgr/cephadm/use_repo_digest"  # by default cephadm does; else it goes by names
MGRS_MIN = 2  # cephadm's own


def make_plan(spec: Spec, file: Path, image: str, facts: Facts, seen: CephUpgrade | None) -> Plan:
    """`seen` is None when Ceph does not answer. `file` is the spec's: it learns of another image than it names."""
    if spec.ceph.existing is not None:
        return _refuse("the Ceph cluster is somebody else's", "upgrade it as its owner does")
    hidden = hidden_ceph(facts)
    if facts.ceph is None or hidden or seen is None:
        return _refuse(f"Ceph cannot be seen: {hidden or 'there is no cluster'}", "shoal status says more")
    settings = {
        "image": image,
        "digest": _digest(facts.ceph, seen),
        "hosts": tuple(host.name for host in spec.hosts),
        "names": tuple(storage_vm_name(host.name) for host in spec.hosts),
    }
    change, reason = _judge(image, _digest(facts.ceph, seen), seen)
    upgrade = Action("ceph_upgrade", CEPH_CLUSTER, change, reason, settings=settings)
    needs = frozenset({upgrade.id})
    follows, why = Change.NONE, f"runs {image}"
    if change is not Change.NONE or seen.volume_service_images != (image,):
        follows, why = Change.UPDATE, f"runs {', '.join(seen.volume_service_images) or 'nowhere'}, wanted {image}"
    services = Action("volume_services_image", CEPH_CLUSTER, follows, why, needs=needs, settings=settings)
    # Not before: an image that turns out to be no good is not to be in the spec.
    edit = spec_edit.plan(file, _edit(image, seen), changes=image != spec.ceph.image, after=needs)
    plan = Plan((upgrade, services, edit))
    return Plan(plan.actions, tuple(_problems(spec, image, facts, facts.ceph, seen))) if plan.changes else plan


def is_on(daemon: Daemon, image: str, digest: str) -> bool:
    """As cephadm tells it: by the image's digest, or by its name where it has been told to (digest is "")."""
    return digest in daemon.digests if digest else daemon.image == image


def is_target(target: str, image: str, digest: str) -> bool:
    """Whether the upgrade under way is to this image: the orchestrator names it by its digest where it goes by that."""
    return target == image or bool(digest) and target == digest


def _goes_by_digest(ceph: Ceph) -> bool:
    return not same_value(ceph.settings.get(BY_DIGEST, "true"), "false")


def _digest(ceph: Ceph, seen: CephUpgrade) -> str:
    """What the daemons' images are compared with; "" for names."""
    return seen.wanted.digest if _goes_by_digest(ceph) else ""


def _edit(image: str, seen: CephUpgrade) -> Edit:
    """With the version, where the name does not tell it, or a number in it is another one: rhceph-7-rhel9:7-512."""
    named, version = ceph_version(image), ceph_version("", seen.wanted.version)
    says_so = not version or named[:1] == version[:1]
    entry = {"image": image} if says_so else {"image": image, "version": seen.wanted.version}
    return Edit(SET_IMAGE, "", entry=entry)


def _judge(image: str, digest: str, seen: CephUpgrade) -> tuple[Change, str]:
    others = [daemon for daemon in seen.daemons if not is_on(daemon, image, digest)]
    if seen.in_progress:
        return Change.UPDATE, f"is under way: {seen.message or seen.target}; it is followed"
    if not others:
        return Change.NONE, f"all {len(seen.daemons)} daemons run {image}"
    running = sorted({f"{daemon.image} ({daemon.version or 'unknown'})" for daemon in others})
    return Change.UPDATE, f"{len(others)} of {len(seen.daemons)} daemons run {', '.join(running)}, wanted {image}"


def _problems(spec: Spec, image: str, facts: Facts, ceph: Ceph, seen: CephUpgrade) -> Iterator[Problem]:
    if seen.in_progress and seen.wanted.refusal and _goes_by_digest(ceph):
        what = f"cephadm cannot say now what {image} is: {seen.wanted.refusal}"
        yield Problem(what, "an upgrade is under way, and a manager is being replaced: try again in a minute")
        return
    if seen.in_progress and seen.target and not is_target(seen.target, image, _digest(ceph, seen)):
        what = f"an upgrade to {seen.target} is under way"
        yield Problem(what, "name that image to follow it, or stop it: ceph orch upgrade stop")
    yield from _of_version(spec, image, seen)
    if _goes_by_digest(ceph) and not seen.wanted.digest and not seen.wanted.refusal:
        what = f"{image} has no digest: it was loaded, not pulled, and cephadm tells images by their digests"
        yield Problem(what, f"have it in a registry; or let cephadm go by names: {BY_DIGEST}: false", "ceph.settings")
    for host in facts.hosts:
        kernel = kernel_problem(parse_kernel(host.dom0.kernel)) if host.dom0 else ""
        if kernel and host.dom0:
            yield Problem(f"{host.name} has kernel {host.dom0.kernel}: {kernel}", "update the host")
    if not seen.in_progress:  # while it rolls, daemons are down by turns: cephadm itself looks before each
        yield from _of_image(image, seen)
        yield from _of_health(facts, ceph, seen)


def _of_version(spec: Spec, image: str, seen: CephUpgrade) -> Iterator[Problem]:
    """What the program in the image says counts for more than what its name does."""
    named = ceph_version(image, spec.ceph.version if image == spec.ceph.image else None)
    version = ceph_version("", seen.wanted.version) or named
    running = [parsed for daemon in seen.daemons if (parsed := ceph_version("", daemon.version))]
    why = upgrade_problem(max(running, default=()), min(running, default=()), version)
    if why:
        told = exact(version) if version != named else ""
        yield Problem(f"{image}{f' is Ceph {told}' if told else ''}: {why}", "name another image", "ceph.image")


def _of_image(image: str, seen: CephUpgrade) -> Iterator[Problem]:
    """One with a digest is pulled by whoever lacks it; one that was loaded must be everywhere, and the same."""
    if seen.wanted.refusal:
        yield Problem(f"cephadm does not take {image}: {seen.wanted.refusal}", "name another image, or mend that")
    copies = seen.wanted.copies
    for copy in copies:
        if copy.unseen:
            yield Problem(f"the storage VM of {copy.host} cannot be asked for the image: {copy.unseen}", "mend that")
    there = [copy for copy in copies if copy.id]
    if all(copy.has_digest for copy in there):
        return
    missing = [copy.host for copy in copies if not copy.id and not copy.unseen]
    if missing:
        what = f"{image} was loaded, not pulled, and is not in the storage VMs of {', '.join(missing)}"
        yield Problem(what, "load it there, too: docker load")
    if len({copy.id for copy in there}) > 1:
        seen_as = ", ".join(f"{copy.id.removeprefix('sha256:')[:12]} on {copy.host}" for copy in there)
        yield Problem(f"{image} is not the same everywhere: {seen_as}", "load the same one in every storage VM")


def _of_health(facts: Facts, ceph: Ceph, seen: CephUpgrade) -> Iterator[Problem]:
    if len(ceph.mgrs) < MGRS_MIN:
        what = f"{len(ceph.mgrs)} manager runs; cephadm replaces managers while another works"
        yield Problem(what, "two hosts or more have one each: bring the other back, or add a host")
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


def _refuse(what: str, remedy: str) -> Plan:
    return Plan((), (Problem(what, remedy),))
