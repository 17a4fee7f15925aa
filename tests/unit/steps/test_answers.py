"""What steps read out of other programs' answers, and what they write for them."""

from __future__ import annotations

import base64
import json

import pytest

from shoal.kit.errors import ShoalError
from shoal.spec.names import VOLUME_SERVICE
from shoal.steps.ceph_cluster import write_conf
from shoal.steps.ceph_image import Image, parse
from shoal.steps.ceph_mons import v1_addresses
from shoal.steps.ceph_user import make_aes_key
from shoal.steps.passthrough_sr import parse_partitions
from shoal.steps.placement_groups import describe_inactive
from shoal.steps.shared_sr import is_as_wanted
from shoal.steps.volume_services import compose

LSBLK = """NAME="sda" PARTLABEL="" PARTUUID=""
NAME="sda1" PARTLABEL="root area" PARTUUID="6E0B9C2E-0001-4000-8000-000000000001"
NAME="sda2" PARTLABEL="shoal-osd-xen1-1" PARTUUID="6e0b9c2e-0001-4000-8000-000000000002"
"""


def address(kind: str, port: int) -> dict[str, object]:
    return {"type": kind, "addr": f"10.77.0.21:{port}", "nonce": 0}


def test_partitions_by_name() -> None:
    assert parse_partitions(LSBLK) == {
        "root area": "6e0b9c2e-0001-4000-8000-000000000001",
        "shoal-osd-xen1-1": "6e0b9c2e-0001-4000-8000-000000000002",
    }


def test_two_partitions_of_shoals_name_are_refused() -> None:
    twice = LSBLK + 'NAME="sdb1" PARTLABEL="shoal-osd-xen1-1" PARTUUID="6e0b9c2e-0001-4000-8000-000000000003"\n'
    with pytest.raises(ShoalError, match="two partitions are named shoal-osd-xen1-1"):
        parse_partitions(twice)


def test_only_v1_addresses_of_monitors_are_for_the_kernel() -> None:
    mon = {"name": "a", "public_addrs": {"addrvec": [address("v2", 3300), address("v1", 6789)]}}
    only_v2 = {"name": "b", "public_addrs": {"addrvec": [address("v2", 3300)]}}
    assert v1_addresses({"mons": [only_v2, mon]}) == ("10.77.0.21:6789",)
    assert v1_addresses(None) == ()


def test_a_pbd_may_name_the_monitors_in_any_order_and_must_name_all() -> None:
    wanted = {"monitors": "a:1,b:1", "pool": "rbd"}
    assert is_as_wanted({"monitors": "b:1,a:1", "pool": "rbd", "password_secret": "u"}, wanted)
    assert not is_as_wanted({"monitors": "a:1", "pool": "rbd"}, wanted)
    assert not is_as_wanted({"monitors": "a:1,b:1", "pool": "other"}, wanted)
    assert is_as_wanted({"device": "/dev/rbd/lvm/a"}, {"device": "/dev/rbd/lvm/a"})
    assert not is_as_wanted({"device": "/dev/sdb"}, {"device": "/dev/rbd/lvm/a"})


def test_an_image_as_rbd_info_tells_it() -> None:
    told = {"name": "lvm-a", "size": 4 << 40, "objects": 1, "features": ["layering", "exclusive-lock"], "flags": []}
    assert parse(json.dumps(told)) == Image(4 << 40, ("exclusive-lock", "layering"))
    with pytest.raises(ShoalError, match="rbd info"):
        parse("rbd: error opening image")


def test_placement_groups_that_cannot_be_written_to_are_named() -> None:
    def pg_stat(**counts: int) -> dict[str, object]:
        return {"pg_summary": {"num_pg_by_state": [{"name": name, "num": count} for name, count in counts.items()]}}

    assert describe_inactive(pg_stat(**{"active+clean": 30, "active+undersized": 2})) == ""
    assert describe_inactive(pg_stat(**{"active+clean": 30, "peering": 2})) == "2 peering"
    assert describe_inactive(pg_stat()) == describe_inactive(None) == "no placement groups yet"


def test_settings_as_a_conf_file() -> None:
    values = {"global/a": "1", "mgr/mgr/cephadm/use_repo_digest": "false", "global/b": "2"}
    assert write_conf(values) == "[global]\na = 1\nb = 2\n[mgr]\nmgr/cephadm/use_repo_digest = false\n"
    with pytest.raises(ShoalError):
        write_conf({"global/a": "1\n[osd]"})


def test_an_aes_key_has_cephs_form() -> None:
    raw = base64.b64decode(make_aes_key().reveal())
    assert (raw[:2], raw[10:12], len(raw)) == (b"\x01\x00", b"\x10\x00", 28)


def test_the_volume_service_is_a_read_only_guest_of_its_host() -> None:
    spec = json.loads(json.dumps(compose(("vm1", "vm2"), "ceph:18")))
    assert f"{spec['service_type']}.{spec['service_id']}" == VOLUME_SERVICE
    assert spec["placement"] == {"hosts": ["vm1", "vm2"]}
    assert all("ro=true" in mount for mount in spec["spec"]["bind_mounts"])
