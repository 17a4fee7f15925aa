"""Why an SR of type lvm cannot be made on this pool. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Facts
from shoal.kit.sizes import format_size
from shoal.plan.ceph_image import size_of
from shoal.plan.found import sr_named
from shoal.plan.lvm_conf import refusal
from shoal.plan.shared_sr import device_of
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import IMAGE_FEATURES, image_in_pool
from shoal.spec.problem import Problem


def find_lvm_problems(spec: Spec, facts: Facts, sr: model.Sr, where: str) -> Iterator[Problem]:
    if "lvm" not in facts.pool.sm_types:
        what = "the pool's toolstack does not know SRs of type lvm"
        yield Problem(what, "put lvm back into sm-plugins of /etc/xapi.conf on every host", f"{where}.type")
    there = sr_named(facts, sr.name)
    for pbd in there.pbds if there else ():
        device = pbd.device_config.get("device", "")
        if device != device_of(sr):
            what = f"the pool already has an SR {sr.name!r} of type lvm, and on {pbd.host} it lies on"
            yield Problem(f"{what} {device or 'nothing'}", "give Shoal's SR another name", f"{where}.name")
            break
    yield from _of_image(facts, sr, where)
    for host in spec.hosts:
        seen = facts.host(host.name)
        for conf in seen.dom0.lvm if seen and seen.dom0 else ():
            why = refusal(conf)
            if why:
                remedy = "delete it there: Shoal repeats what lvm.conf says, and adds its own"
                yield Problem(f"on {host.name}, {why}", remedy, f"{where}.type")


def _of_image(facts: Facts, sr: model.Sr, where: str) -> Iterator[Problem]:
    name = image_in_pool(sr.pool, sr.name)
    image = facts.ceph.images.get(name) if facts.ceph else None
    if image is None:
        return
    if image.size_bytes > size_of(sr):
        what = f"the image {name} has {format_size(image.size_bytes)} already, and an image is never made smaller"
        yield Problem(what, "write its size, or more", f"{where}.image_size")
    if image.features != IMAGE_FEATURES:
        what = f"the image {name} was not made by Shoal: its features are {', '.join(image.features) or 'none'}"
        yield Problem(what, "rename it, or give the SR another name or pool", f"{where}.name")
