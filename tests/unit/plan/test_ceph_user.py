"""The rights of Ceph users: by name, no more than is needed, and never less than a VM's disk is written with."""

from __future__ import annotations

from shoal.facts import Pbd, Sr
from shoal.plan.ceph_user import NOOUT, caps_for, rights_for
from shoal.spec.names import KERNEL_USER, VOLUMES_USER
from tests.model.world import make_spec


def sr(**device_config: str) -> Sr:
    return Sr("sr-uuid", "an SR", "rbd", True, (Pbd("pbd-uuid", "xen1", True, device_config),))


def test_an_sr_out_of_the_spec_keeps_its_rights() -> None:
    spec = make_spec()
    others = (
        sr(user="shoal-xen", pool="gold", namespace="vms", data_pool="bulk"),
        sr(device="/dev/rbd/archive/lvm-old"),
    )
    kept = caps_for(spec, others)["osd"].removeprefix(caps_for(spec)["osd"])
    assert kept == (
        ", profile rbd pool=gold namespace=vms, profile rbd pool=bulk namespace=vms, profile rbd pool=archive"
    )


def test_the_sr_of_somebody_else_gives_no_rights() -> None:
    spec = make_spec()
    strangers = (sr(user="admin", pool="gold"), sr(device="/dev/sdb"), sr(user="shoal-xen", pool="a pool, profile rbd"))
    assert caps_for(spec, strangers) == caps_for(spec)


def test_only_the_volume_service_may_keep_osds_in_the_cluster() -> None:
    rights = {user: caps["mon"] for user, caps in rights_for(make_spec()).items()}
    assert rights == {KERNEL_USER: "profile rbd", VOLUMES_USER: f"profile rbd, {NOOUT}"}
