"""A person copies a storage VM: the copy has Shoal's marks, and stays when Shoal's own goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shoal.clients.connections import Connections
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps import records, system_disk
from shoal.steps.destroy import storage_vm
from shoal.steps.tools import Tools
from tests.contract.pools import NULL
from tests.contract.test_destroy import Site, problems, shoaled

NAME, SYSTEM = "shoal-storage-xen1", "shoal-storage-xen1 system"
LEAVES = Action("storage_vm_removal", "xen1", Change.UPDATE, "", "xen1")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with shoaled(tmp_path) as made:
        yield made


async def remove(site: Site) -> str:
    """As `shoal host remove` and `shoal destroy` do it; what is still there."""
    async with Connections(site.document.spec, site.state) as connections:
        await connections.xenapi.login()
        tools = Tools(connections, lambda _action, _text: None)
        await storage_vm.apply(LEAVES, tools)
        return await storage_vm.verify(LEAVES, tools)


def copy(api: Any, name: str) -> str:
    """Of the storage VM, which runs on."""
    (own,) = api.VM.get_by_name_label(NAME)
    api.VM.set_blocked_operations(own, {})  # as a person must, too
    api.VM.hard_shutdown(own)
    made = str(api.VM.copy(own, name, NULL))
    api.VM.start(own, False, False)
    return made


def disks(api: Any, vm: str) -> list[str]:
    return sorted(api.VBD.get_VDI(vbd) for vbd in api.VM.get_VBDs(vm))


async def test_a_copy_keeps_its_disks_and_shoals_own_loses_them(site: Site) -> None:
    api = site.api
    made = await asyncio.to_thread(copy, api, "my copy")
    (own,) = api.VM.get_by_name_label(NAME)
    snapshot, kept = api.VM.snapshot(own, "before it goes"), disks(api, made)
    own_disks = disks(api, own)
    assert len(kept) == 2 and api.VM.get_other_config(made)["shoal:host"] == "xen1"
    async with Connections(site.document.spec, site.state) as connections:
        await connections.xenapi.login()
        found = await records.own_vdis(connections.xenapi, SYSTEM, "xen1", system_disk.ROLE)
        assert [ref for ref, _ in found if ref not in own_disks] == []
    assert await remove(site) == ""
    assert api.VM.get_by_name_label(NAME) == [] and not set(own_disks) & set(api.VDI.get_all())
    assert disks(api, made) == kept and set(kept) <= set(api.VDI.get_all())
    assert set(disks(api, snapshot)) <= set(api.VDI.get_all())
    assert await remove(site) == ""


async def test_destroy_leaves_a_copy_with_no_mark(site: Site) -> None:
    made = await asyncio.to_thread(copy, site.api, "my copy")
    result = await site.destroy()
    assert [str(outcome.error) for outcome in result.failures] == []
    assert len(disks(site.api, made)) == 2 and "shoal:host" not in site.api.VM.get_other_config(made)
    again = await site.destroy()
    assert again.plan.changes == () and again.plan.problems == ()


async def test_two_of_a_name_are_refused_and_so_is_a_copy_that_no_vm_has(site: Site) -> None:
    api = site.api
    made = await asyncio.to_thread(copy, api, NAME)
    before = sorted(api.VDI.get_all())
    with pytest.raises(ShoalError, match="2 VMs 'shoal-storage-xen1'"):
        await remove(site)
    (what,) = problems(await site.destroy())
    assert "2 VMs 'shoal-storage-xen1'" in what
    api.VM.set_name_label(made, "my copy")
    (own,) = api.VM.get_by_name_label(NAME)
    loose = api.VDI.copy(disks(api, made)[0], api.VDI.get_SR(disks(api, made)[0]), NULL, NULL)
    with pytest.raises(ShoalError, match="2 VDIs 'shoal-storage-xen1"):
        await remove(site)
    assert api.VM.get_power_state(own) == "Running" and sorted(api.VDI.get_all()) == sorted([*before, loose])
    api.VDI.destroy(loose)
    assert await remove(site) == "" and len(disks(api, made)) == 2
