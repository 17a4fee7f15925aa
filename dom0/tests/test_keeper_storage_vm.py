"""Which VM a keeper takes for a host's storage VM when a person has copied it: the copy has Shoal's marks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dom0.shoal_keeper import failover_roster
from dom0.shoal_keeper.observe import STORAGE_VM, find_storage_vm
from shoal.spec.names import storage_vm_name


def vm(name: str, host: str = "xen1", **more: bool) -> dict[str, Any]:
    is_ordinary = {"is_a_template": False, "is_a_snapshot": False, "is_control_domain": False}
    return {"name_label": name, "other_config": {"shoal:host": host}, **is_ordinary, **more}


OWN, COPY, SNAPSHOT = vm("shoal-storage-xen1"), vm("a copy"), vm("shoal-storage-xen1", is_a_snapshot=True)


@pytest.mark.parametrize("order", list(itertools.permutations(["own", "copy", "snapshot", "other"])))
def test_the_storage_vm_is_known_beside_its_copies(order: tuple[str, ...]) -> None:
    all_vms = {"own": OWN, "copy": COPY, "snapshot": SNAPSHOT, "other": vm("shoal-storage-xen2", "xen2")}
    vms = {ref: all_vms[ref] for ref in order}
    assert find_storage_vm(vms, "xen1") == "own"
    machines = failover_roster._machines(lambda _: vms)
    assert machines == {"xen1": "shoal-storage-xen1", "xen2": "shoal-storage-xen2"}


def test_one_that_a_person_renamed_is_it_still() -> None:
    assert find_storage_vm({"own": vm("renamed"), "snapshot": SNAPSHOT}, "xen1") == "own"
    assert find_storage_vm({"snapshot": SNAPSHOT}, "xen1") is None


def test_it_goes_by_the_name_that_apply_gives() -> None:
    """dom0 cannot import what plans."""
    assert STORAGE_VM % "xen1" == storage_vm_name("xen1")
