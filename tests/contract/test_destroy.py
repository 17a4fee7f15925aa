"""`shoal destroy` on a pool on loopback, set up by the product's own steps: what goes, what stays, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal import converge
from shoal.clients.connections import Connections
from shoal.clients.ssh import Ssh
from shoal.clients.xenapi import XenApi
from shoal.engine.lock import KEY, WAITS_KEY
from shoal.facts import LvmConf, Remains
from shoal.kit.shipped import DOM0_KEEPER_UNIT, DOM0_PLUGIN, DOM0_SERVICES, DOM0_WHITELIST, dom0_files
from shoal.plan.action import Action, Change, Plan
from shoal.plan.destroy.planner import KINDS, Options
from shoal.plan.host_marks import WORK_LOCK
from shoal.plan.lvm_conf import merge
from shoal.spec.load import Document, parse
from shoal.spec.sources import Surroundings
from shoal.steps import default_sr, pool_key, records, sm_plugins, storage_vm, system_disk
from shoal.steps.registry import DESTROY_STEPS
from shoal.steps.tools import Tools
from tests.contract.folder_dom0 import FolderDom0, contents, copy_driver
from tests.contract.pools import DRIVER, NULL, log_in, refused, vbd_record, vdi_record, vm_record
from tests.contract.test_product_command import SPEC
from tests.unit.engine.steps import Log

COMPARED = ("pool", "host", "network", "SR", "PBD", "VDI", "VM", "VBD", "VIF", "secret", "SM", "message")


@dataclass
class Site:
    """A pool with Shoal on it, and how it was before."""

    pool: LoopbackPool
    dom0: FolderDom0
    document: Document
    state: Path
    before: Any = None

    @property
    def api(self) -> Any:
        return log_in(self.pool)

    async def destroy(self, **options: bool) -> converge.Result:
        async def confirm(_seen: Remains, _plan: Plan) -> bool:
            return True

        return await converge.destroy(self.document, self.state, Options(**options), confirm=confirm, watcher=Log())


@contextlib.asynccontextmanager
async def shoaled(folder: Path) -> AsyncIterator[Site]:
    pool = LoopbackPool(folder / "pool")
    dom0 = FolderDom0(pool.master)
    (pool.master.root / "etc/lvm").mkdir(parents=True)
    (pool.master.root / "etc/lvm/lvmlocal.conf").write_text("# mine\n")
    with pool:
        async with dom0.serve():
            file = folder / "shoal.yaml"
            file.write_text(SPEC.format(url=pool.url).replace("srs: [{", "srs: [{default: true, "))
            file.write_text(file.read_text() + f"ssh: {{port: {dom0.port}}}\n")
            document = parse(file.read_text(), file, Surroundings(folder, {"PASSWORD": PASSWORD}))
            site = Site(pool, dom0, document, folder / "state")
            await asyncio.to_thread(make_strangers, site.api)
            site.before = await asyncio.to_thread(all_there_is, site)
            await set_up(site, folder)
            yield site


def make_strangers(api: Any) -> None:
    """What somebody else has in the pool, alike as it may be."""
    (pool,) = api.pool.get_all()
    (local,) = api.SR.get_by_name_label("Local storage")
    api.pool.set_default_SR(pool, local)
    api.pool.add_to_other_config(pool, "mine", "stays")
    vm = api.VM.create(vm_record("shoal-storage-of-mine"))
    vdi = api.VDI.create(vdi_record(local, name_label="shoal-storage-xen1 system"))
    api.VBD.create(vbd_record(vm, vdi))
    api.secret.create({"value": "somebody's", "other_config": {}})
    api.message.create("MINE", "3", "VM", api.VM.get_uuid(vm), "stays")


def all_there_is(site: Site) -> Any:
    """Everything in the database and in the dom0 that Shoal could have touched."""
    api, found = site.api, {}
    for kind in COMPARED:
        for ref, record in getattr(api, kind).get_all_records().items():
            record.pop("metrics", None)
            record.pop("allowed_operations", None)
            if kind == "SM":
                ref = record["type"]
                record.pop("uuid")
            if kind == "host":
                record["other_config"].pop("agent_start_time", None)
            if kind == "SR":
                for figure in ("physical_utilisation", "virtual_allocation", "physical_size"):
                    record.pop(figure)
            found[kind, ref] = record
    return found, contents(site.pool.master.root)


async def set_up(site: Site, folder: Path) -> None:
    """As `apply` does, by its own steps where these need no Ceph."""
    install_kit(site)
    await asyncio.to_thread(restart, site.pool)
    (folder / "image.raw").write_bytes(b"image" * 1000)
    async with Connections(site.document.spec, site.state) as connections:
        await connections.xenapi.login()
        tools = Tools(connections, lambda _action, _text: None)
        await pool_key.apply(Action("pool_key", "pool", Change.CREATE, ""), tools)
        await make_storage_vm(tools, folder)
        await asyncio.to_thread(make_srs, site)
        await default_sr.apply(Action("default_sr", "pool", Change.UPDATE, "", settings={"sr": "shoal"}), tools)
        host = await records.host_ref(connections.xenapi, "xen1")
        await records.set_mark(connections.xenapi, "host", host, "shoal:kit", "of some day")


def install_kit(site: Site) -> None:
    root = site.pool.master.root
    for file in dom0_files():
        place = root / file.path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.data)
    copy_driver(DRIVER, site.pool.master)
    names = sm_plugins.merge([(root / "etc/xapi.conf").read_text()], "rbd")
    assert names
    others = {
        DOM0_WHITELIST: sm_plugins.write_file(names),
        "/etc/modules-load.d/shoal.conf": "rbd\n",
        "/etc/shoal/volumes/client.key": "a key",
        "/etc/shoal/host.json": "{}",
        "/etc/shoal/maps.json": json.dumps({"fsid": "f", "user": "u", "monitors": [], "images": ["lvm/lvm-other"]}),
        "/var/lib/shoal/keeper.json": "{}",
        "/run/shoal/relay": "",
        "/etc/lvm/lvmlocal.conf": merge(LvmConf("/etc/lvm", "", "# mine\n")),
        "/etc/lvm/master/lvmlocal.conf": merge(LvmConf("/etc/lvm/master", "", "")),
    }
    for path, text in others.items():
        place = root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (root / "etc/xapi.d/plugins").mkdir(parents=True)
    (root / "etc/xapi.d/plugins/xscontainer").symlink_to(root / DOM0_PLUGIN[1:])
    (root / "opt/shoal/disks").mkdir()
    (root / "opt/shoal/disks/shoal-osd-xen1-1").symlink_to("/dev/disk/by-partuuid/none")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (root / "units").mkdir()
    for unit in DOM0_SERVICES:
        (wants / unit).symlink_to(DOM0_KEEPER_UNIT)
        (root / "units" / unit).touch()


def restart(pool: LoopbackPool) -> None:
    pool.master.stop()
    pool.master.start()


async def make_storage_vm(tools: Tools, folder: Path) -> None:
    settings = {"name": "shoal-storage-xen1 system", "sr": "Local storage", "size_bytes": 1 << 20}
    settings |= {"image": str(folder / "image.raw"), "image_sha256": "sum"}
    await system_disk.apply(Action("system_disk", "xen1", Change.CREATE, "", "xen1", settings=settings), tools)
    settings = {"name": "shoal-storage-xen1", "address": "127.0.1.1", "prefix": 8, "gateway": None, "dns": ()}
    settings |= {"ntp": (), "bridge": "xenbr0", "vcpus": 1, "memory_bytes": 1 << 28, "disks": {}, "digest": "d"}
    await storage_vm.apply(Action("storage_vm", "xen1", Change.CREATE, "", "xen1", settings=settings), tools)
    (vm,) = await records.by_name(tools.xenapi, "VM", "shoal-storage-xen1")
    await tools.xenapi.call_async("VM.start", vm, False, False, timeout_s=30)


def make_srs(site: Site) -> None:
    api, root = site.api, site.pool.master.root
    (root / "storage").mkdir(exist_ok=True)
    (host,) = api.host.get_all()
    config = {"path": str(root / "storage"), "volumes": "127.0.1.1:7443", "password": "a CephX key"}
    api.SR.create(host, config, "0", "shoal", "", "rbd", "user", True, {})
    api.secret.create({"value": "a CephX key", "other_config": {}})  # as xapi leaves one when a PBD is made anew
    api.SR.create(host, {"location": "/opt/shoal/disks"}, "0", "Shoal disks xen1", "", "udev", "disk", False, {})
    api.message.create("SHOAL_TROUBLE", "3", "Host", api.host.get_uuid(host), "the keeper's")
    api.host.add_to_other_config(host, "shoal:maintenance", "true")


def disk_on_sr(api: Any, name: str = "precious") -> str:
    (sr,) = api.SR.get_by_name_label("shoal")
    return str(api.VDI.create(vdi_record(sr, name_label=name)))


def problems(result: converge.Result) -> list[str]:
    assert not result.outcomes
    return [problem.what for problem in result.plan.problems]


async def test_all_goes_and_what_is_not_shoals_stays(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        result = await site.destroy()
        assert {outcome.action.kind for outcome in result.outcomes.values()} >= set(KINDS) - {"partition"}
        assert [str(outcome.error) for outcome in result.failures] == []
        assert await asyncio.to_thread(all_there_is, site) == site.before
        again = await site.destroy()
        assert again.plan.changes == () and again.plan.problems == ()


async def test_while_a_person_thinks_others_are_kept_out_and_keepers_go_on(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        pool = await asyncio.to_thread(lambda: site.api.pool.get_all()[0])
        seen: list[dict[str, str]] = []

        async def confirm(_seen: Remains, _plan: Plan) -> bool:
            seen.append(await asyncio.to_thread(site.api.pool.get_other_config, pool))
            return False

        await converge.destroy(site.document, site.state, Options(), confirm=confirm, watcher=Log())
        assert {KEY, WAITS_KEY} <= seen[0].keys()
        left = await asyncio.to_thread(site.api.pool.get_other_config, pool)
        assert not {KEY, WAITS_KEY} & left.keys()


async def test_another_srs_secret_with_the_same_key_stays(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        secret = await asyncio.to_thread(make_sr_with_the_same_key, site.api)
        result = await site.destroy()
        assert [str(outcome.error) for outcome in result.failures] == [] and result.outcomes
        secrets = (await asyncio.to_thread(site.api.secret.get_all_records)).values()
        assert secret in [record["uuid"] for record in secrets]


def make_sr_with_the_same_key(api: Any) -> str:
    """The uuid of its secret. It is not plugged."""
    (host,) = api.host.get_all()
    sr = api.SR.introduce(str(uuid.uuid4()), "mine", "", "udev", "disk", True, {})
    config = {"location": "/opt/mine", "password": "a CephX key"}
    pbd = api.PBD.create({"host": host, "SR": sr, "device_config": config, "other_config": {}})
    return str(api.PBD.get_device_config(pbd)["password_secret"])


class Killer:
    """Ends a run at its n-th call to the outside: before the call reaches the other side, or after."""

    def __init__(self) -> None:
        self.left, self.kills = 0, 0
        self.task: asyncio.Task[converge.Result] | None = None

    async def begin(self, site: Site, calls: int) -> converge.Result | None:
        """The result, or None when it was killed."""
        self.left = calls
        self.task = asyncio.create_task(site.destroy())
        with contextlib.suppress(asyncio.CancelledError):
            return await self.task
        self.kills += 1
        # As of a process that is gone, and not of this one, which lives.
        await asyncio.to_thread(forget_lock, site.api)
        return None

    def wrap(self, call: Any) -> Any:
        async def counted(owner: Any, *arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if self.kills % 2:
                    await call(owner, *arguments, **named)
                assert self.task
                self.task.cancel()
                await asyncio.sleep(60)
            return await call(owner, *arguments, **named)

        return counted


def forget_lock(api: Any) -> None:
    (pool,) = api.pool.get_all()
    for key in (KEY, WORK_LOCK):
        api.pool.remove_from_other_config(pool, key)


async def test_killed_anywhere_it_converges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer()
    async with shoaled(tmp_path) as site:
        monkeypatch.setattr(XenApi, "_request", killer.wrap(XenApi._request))
        monkeypatch.setattr(Ssh, "_run", killer.wrap(Ssh._run))
        calls, result = 20, None
        while result is None:
            result = await killer.begin(site, calls)
            calls += 4
            assert calls < 1000
        assert [str(outcome.error) for outcome in result.failures] == []
        assert killer.kills > 5
        assert await asyncio.to_thread(all_there_is, site) == site.before


async def test_a_disk_on_the_sr_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        vdi = await asyncio.to_thread(disk_on_sr, site.api)
        shoaled_pool = await asyncio.to_thread(all_there_is, site)
        (what,) = problems(await site.destroy())
        assert "'precious'" in what and "'shoal'" in what
        assert await asyncio.to_thread(all_there_is, site) == shoaled_pool

        vm = await asyncio.to_thread(site.api.VM.create, vm_record("writer"))
        await asyncio.to_thread(site.api.VBD.create, vbd_record(vm, vdi))
        await asyncio.to_thread(site.api.VM.start, vm, False, False)
        (what,) = problems(await site.destroy(with_disks=True))
        assert "in use: VM 'writer' is running" in what

        await asyncio.to_thread(site.api.VM.hard_shutdown, vm)
        result = await site.destroy(with_disks=True)
        assert [str(outcome.error) for outcome in result.failures] == []
        assert await asyncio.to_thread(refused, site.api.VDI.get_record, vdi)
        assert await asyncio.to_thread(site.api.VM.get_name_label, vm) == "writer"


async def test_a_foreign_sr_that_needs_the_driver_keeps_it(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        host = (await asyncio.to_thread(site.api.host.get_all))[0]
        folder = tmp_path / "foreign"
        folder.mkdir()
        settings: tuple[Any, ...] = ({"path": str(folder)}, "0", "somebody's", "", "rbd", "user", True, {})
        await asyncio.to_thread(site.api.SR.create, host, *settings)
        (what,) = problems(await site.destroy())
        assert 'SR "somebody\'s" is of type rbd and is not in the spec' in what


async def test_what_was_default_before_is_none_when_it_is_gone(tmp_path: Path) -> None:
    async with shoaled(tmp_path) as site:
        (pool,) = await asyncio.to_thread(site.api.pool.get_all)
        await asyncio.to_thread(site.api.pool.remove_from_other_config, pool, "shoal:default-sr-before")
        await asyncio.to_thread(
            site.api.pool.add_to_other_config, pool, "shoal:default-sr-before", "00000000-0000-0000-0000-000000000000"
        )
        result = await site.destroy()
        assert [str(outcome.error) for outcome in result.failures] == []
        assert await asyncio.to_thread(site.api.pool.get_default_SR, pool) == NULL


def test_every_kind_has_its_step_and_its_word() -> None:
    assert tuple(DESTROY_STEPS) == KINDS
