"""Each dom0 maps the images that SRs of type lvm lie on: now, and at each boot before the toolstack plugs PBDs."""

from __future__ import annotations

from shoal.facts import Facts, Maps
from shoal.plan.action import Action, Change
from shoal.plan.ceph_mons import monitor_addresses
from shoal.plan.found import Verdict, hidden_ceph
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, KERNEL_USER, image_in_pool


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    if not spec.lvm_srs:
        return ()
    images = wanted_images(spec)
    settings = {"user": KERNEL_USER.removeprefix("client."), "images": images}
    needs = {f"ceph_image/{sr.name}" for sr in spec.lvm_srs}
    needs |= {f"ceph_user/{KERNEL_USER}", f"ceph_mons/{CEPH_CLUSTER}"}
    actions = []
    for host in spec.hosts:
        change, reason = _judge(spec, facts, host.name)
        all_needs = frozenset(needs | {f"dom0_kit/{host.name}"})
        actions.append(Action("rbd_map", host.name, change, reason, host.name, all_needs, settings))
    return tuple(actions)


def wanted_images(spec: Spec) -> tuple[str, ...]:
    return tuple(image_in_pool(sr.pool, sr.name) for sr in spec.lvm_srs)


def _judge(spec: Spec, facts: Facts, host: str) -> Verdict:
    seen = facts.host(host)
    if seen is None or seen.dom0 is None:
        return Change.UPDATE, "cannot be seen: dom0 does not answer"
    maps, wanted = seen.dom0.maps, wanted_images(spec)
    if not maps.images:
        return Change.CREATE, "dom0 maps no image"
    lack = _lack(maps, wanted) or ("" if hidden_ceph(facts) else _stale(spec, facts, maps))
    if lack:
        return Change.UPDATE, lack
    return Change.NONE, ", ".join(f"{image} is {maps.mapped[image]}" for image in wanted)


def _lack(maps: Maps, wanted: tuple[str, ...]) -> str:
    if set(maps.images) != set(wanted):
        return f"dom0 maps {', '.join(maps.images)}, wanted {', '.join(wanted)}"
    if not maps.has_key:
        return "dom0 has no key to map with"
    if not maps.is_enabled:
        return "nothing maps at boot"
    missing = [image for image in wanted if not maps.mapped.get(image)]
    return f"{', '.join(missing)} is not mapped" if missing else ""


def _stale(spec: Spec, facts: Facts, maps: Maps) -> str:
    """What dom0 knows of the cluster and is not so any more."""
    if facts.ceph is None or maps.fsid != facts.ceph.fsid:
        return "dom0 maps images of another cluster"
    if maps.user != KERNEL_USER.removeprefix("client."):
        return f"dom0 maps as {maps.user or 'nobody'}"
    missing = sorted(monitor_addresses(spec, facts) - set(maps.monitors))
    return f"dom0 does not know the monitor {', '.join(missing)}" if missing else ""
