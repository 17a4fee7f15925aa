"""The RBD image that an SR of type lvm lies on: thin, in the SR's own pool, for all hosts to write to at once."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.kit.sizes import format_size
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph, numbered_disks
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, IMAGE_FEATURES, disk_target, image_in_pool


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    # Making an image writes: to placement groups that are not active it would wait.
    osds = {f"ceph_osd/{disk_target(host.name, number)}" for host, number, _ in numbered_disks(spec)}
    actions = []
    for sr in spec.lvm_srs:
        change, reason = judge_ceph(facts, _judge, sr)
        settings = {"image": image_in_pool(sr.pool, sr.name), "size_bytes": size_of(sr), "features": IMAGE_FEATURES}
        needs = frozenset({f"ceph_pool/{sr.pool}", f"ceph_mgrs/{CEPH_CLUSTER}", *osds})
        actions.append(Action("ceph_image", sr.name, change, reason, needs=needs, settings=settings))
    return tuple(actions)


def size_of(sr: model.Sr) -> int:
    assert sr.image_size is not None, "the spec's check wants it for type lvm"
    return sr.image_size


def _judge(ceph: Ceph, sr: model.Sr) -> Verdict:
    name = image_in_pool(sr.pool, sr.name)
    image = ceph.images.get(name)
    if image is None:
        return Change.CREATE, f"there is no image {name}"
    if image.size_bytes < size_of(sr):
        return Change.UPDATE, f"{name} has {format_size(image.size_bytes)}, wanted {format_size(size_of(sr))}"
    return Change.NONE, f"{name}, {format_size(image.size_bytes)}"
