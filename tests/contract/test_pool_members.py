"""Hosts join the stand-in's pool and are ejected; and what Shoal takes from one that leaves the storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.pins import Pins
from shoal.clients.xenapi import XenApi
from shoal.kit.secret import Secret
from shoal.observe.pool import look_at_pool
from shoal.plan.action import Action, Change
from shoal.steps import host_marks
from shoal.steps.tools import Tools
from tests.contract.pools import install_driver, log_in, make_sr, master, refused, vbd_record, vdi_record, vm_record

OTHER = "xen2"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LoopbackPool]:
    made = LoopbackPool(tmp_path / "pool", host_count=2)
    install_driver(made.master)
    with made:
        yield made


def host(api: Any, name: str) -> str:
    (found,) = api.host.get_by_name_label(name)
    return str(found)


def test_a_host_that_is_ejected_is_gone_and_joins_again_when_it_starts(pool: LoopbackPool) -> None:
    api = log_in(pool)
    sr = make_sr(api, pool)
    before = {kind: len(getattr(api, kind).get_all()) for kind in ("SR", "PBD", "PIF", "VM", "host")}
    assert refused(api.pool.eject, master(api))[0] == "OPERATION_NOT_ALLOWED"
    api.pool.eject(host(api, OTHER))
    after = {kind: len(getattr(api, kind).get_all()) for kind in before}
    assert {kind: before[kind] - after[kind] for kind in before} == {"SR": 1, "PBD": 2, "PIF": 1, "VM": 1, "host": 1}
    assert [api.PBD.get_host(pbd) for pbd in api.SR.get_PBDs(sr)] == [master(api)]

    pool.hosts[OTHER].stop()
    pool.hosts[OTHER].start()
    assert {kind: len(getattr(api, kind).get_all()) for kind in before} == before
    assert len(api.SR.get_PBDs(sr)) == 2  # of every shared SR a host that joins gets one


def test_a_host_with_a_vm_is_not_ejected(pool: LoopbackPool) -> None:
    api = log_in(pool)
    vm = api.VM.create(vm_record())
    api.VM.start_on(vm, host(api, OTHER), False, False)
    assert refused(api.pool.eject, host(api, OTHER))[0] == "HOST_HAS_RESIDENT_VMS"


async def test_vms_that_use_an_sr_on_a_host_are_seen(pool: LoopbackPool, tmp_path: Path) -> None:
    api = log_in(pool)
    sr = make_sr(api, pool)
    for name, starts in (("runs", True), ("rests", False)):
        vm = api.VM.create({**vm_record(), "name_label": name})
        api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(sr))))
        if starts:
            api.VM.start_on(vm, master(api), False, False)
    xenapi = XenApi(pool.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json"))
    try:
        seen = await look_at_pool(xenapi, {})
    finally:
        await xenapi.close()
    assert [(user.vm, user.host, user.sr) for user in seen.sr_users] == [("runs", "xen1", api.SR.get_uuid(sr))]


async def test_a_host_that_leaves_keeps_no_mark_and_no_alert(pool: LoopbackPool, tmp_path: Path) -> None:
    api = log_in(pool)
    for name in ("xen1", OTHER):
        api.host.add_to_other_config(host(api, name), "shoal:kit", "digest")
        api.message.create("SHOAL_TEST", "3", "Host", api.host.get_uuid(host(api, name)), "trouble")
    api.host.add_to_other_config(host(api, OTHER), "owner", "somebody")
    xenapi = XenApi(pool.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json"))
    connections: Any = SimpleNamespace(xenapi=xenapi)
    tools, action = Tools(connections, lambda *_: None), Action("host_marks_removal", OTHER, Change.UPDATE, "test")
    try:
        assert await host_marks.verify(action, tools) == "2 of them are still there"
        for _ in range(2):
            await host_marks.apply(action, tools)
            assert await host_marks.verify(action, tools) == ""
    finally:
        await xenapi.close()
    kept = {name: api.host.get_other_config(host(api, name)) for name in ("xen1", OTHER)}
    assert ("shoal:kit" in kept["xen1"], "shoal:kit" in kept[OTHER], kept[OTHER]["owner"]) == (True, False, "somebody")
    assert [row["obj_uuid"] for row in api.message.get_all_records().values()] == [api.host.get_uuid(host(api, "xen1"))]
