"""XenAPI's records become facts; anything else is told."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.facts import Pbd
from shoal.kit.errors import ShoalError
from shoal.observe.pool import read_pool
from tests.unit.observe.answers import JSON, Place, places, with_value


def vm(name: str, **more: object) -> dict[str, object]:
    record = {"uuid": f"vm-{name}", "name_label": name, "is_a_template": False, "is_a_snapshot": False}
    return {**record, "power_state": "Running", "resident_on": "h2", "VBDs": [], "other_config": {}, **more}


def host(name: str, number: int) -> dict[str, object]:
    return {
        "uuid": f"uuid-{name}",
        "name_label": name,
        "address": f"10.77.0.1{number}",
        "metrics": f"m{number}",
        "enabled": True,
        "software_version": {"product_brand": "XCP-ng", "product_version": "8.3.0"},
        "other_config": {"shoal:kit": "d"} if number == 1 else {},
    }


GOOD: dict[str, dict[str, dict[str, object]]] = {
    "pool": {
        "p": {
            "uuid": "uuid-pool",
            "name_label": "",
            "master": "h1",
            "default_SR": "s1",
            "ha_enabled": False,
            "other_config": {"shoal:ssh-key": "uuid-secret"},
        }
    },
    "host": {"h1": host("xen1", 1), "h2": host("xen2", 2)},
    "host_metrics": {
        "m1": {"live": True, "memory_total": "17179869184", "memory_free": 1024},
        "m2": {"live": False, "memory_total": "0", "memory_free": "0"},
    },
    "SR": {
        "s1": {
            "uuid": "uuid-sr",
            "name_label": "shoal",
            "type": "rbd",
            "shared": True,
            "PBDs": ["b1", "b2", "gone"],
            "physical_size": "-1",
            "physical_utilisation": "5",
            "other_config": {},
        }
    },
    "PBD": {
        "b2": {"uuid": "uuid-b2", "host": "h2", "currently_attached": False, "device_config": {"pool": "rbd"}},
        "b1": {
            "uuid": "uuid-b1",
            "host": "h1",
            "currently_attached": True,
            "device_config": {"pool": "rbd", "password_secret": "uuid-secret", "password": "s3cret"},
        },
    },
    "VDI": {
        "v1": {
            "uuid": "uuid-v1",
            "name_label": "shoal-osd-xen1-1",
            "SR": "s1",
            "location": "shoal-osd-xen1-1",
            "virtual_size": "10",
            "other_config": {"shoal:disk": "xen1:1"},
        },
        "v2": {"uuid": "uuid-v2", "name_label": "of an SR that is gone", "SR": "OpaqueRef:NULL", "virtual_size": "1"},
    },
    "VM": {
        "t": vm("shoal-storage-xen1", uuid="a-template", is_a_template=True),
        "x": vm("shoal-storage-xen1", VBDs=["vbd2", "vbd1"], other_config={"shoal:settings": "digest"}),
        "y": vm("somebody else's"),
        "z": vm("shoal-storage-xen2", power_state="Halted", resident_on="OpaqueRef:NULL"),
    },
    "VBD": {
        "vbd1": {"userdevice": "1", "VDI": "OpaqueRef:NULL"},
        "vbd2": {"userdevice": "2", "VDI": "v1"},
    },
    "network": {"n": {"bridge": "xenbr0", "uuid": "uuid-net"}},
    "SM": {"1": {"type": "udev"}, "2": {"type": "ext"}, "3": {"type": "ext"}},
}
ADDRESSES = {"xen1": "10.77.0.21"}


def test_records_become_facts() -> None:
    seen = read_pool(GOOD, ADDRESSES, ("uuid-secret",))
    assert seen.pool.master == "xen1"
    assert seen.pool.default_sr == "uuid-sr"
    assert seen.pool.sm_types == ("ext", "udev")
    assert [(host.name, host.live, host.toolstack_kit) for host in seen.hosts] == [
        ("xen1", True, "d"),
        ("xen2", False, ""),
    ]
    assert [vdi.uuid for vdi in seen.vdis] == ["uuid-v1"]
    first, second = seen.storage_vms
    assert (first.uuid, first.resident_on, first.disks) == ("vm-shoal-storage-xen1", "xen2", {"2": "uuid-v1"})
    assert (first.settings_digest, first.address) == ("digest", "10.77.0.21")
    assert (second.power_state, second.resident_on, second.address) == ("Halted", "", "")


def test_no_password_becomes_a_fact() -> None:
    seen = read_pool(GOOD, ADDRESSES)
    assert seen.srs[0].pbds == (
        Pbd("uuid-b1", "xen1", True, {"pool": "rbd", "password_secret": "uuid-secret"}),
        Pbd("uuid-b2", "xen2", False, {"pool": "rbd"}),
    )
    assert "s3cret" not in repr(seen)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([at for at in places(GOOD) if len(at) > 2]), JSON)
def test_any_wrong_value_is_told_and_never_a_bug(at: Place, wrong: object) -> None:
    with contextlib.suppress(ShoalError):
        read_pool(with_value(GOOD, at, wrong), ADDRESSES)
