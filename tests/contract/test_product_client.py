"""The product's own client and its look at a pool, against the stand-in over real HTTPS on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.pins import Pins
from shoal.clients.xenapi import LoginRefused, XenApi, XenApiError
from shoal.kit.secret import Secret
from shoal.observe.pool import look_at_pool
from shoal.steps import records

MIB = 1 << 20


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackPool]:
    with LoopbackPool(tmp_path_factory.mktemp("pool"), host_count=2) as running:
        yield running


@pytest.fixture
async def xenapi(pool: LoopbackPool, tmp_path: Path) -> AsyncIterator[XenApi]:
    client = XenApi(pool.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json"))
    yield client
    await client.close()


async def test_the_look_at_a_fresh_pool(xenapi: XenApi) -> None:
    seen = await look_at_pool(xenapi, {"xen1": "10.77.0.21"})
    assert [(host.name, host.is_master, host.enabled) for host in seen.hosts] == [
        ("xen1", True, True),
        ("xen2", False, True),
    ]
    assert all(host.live and host.product and host.memory_total_bytes > host.memory_free_bytes for host in seen.hosts)
    assert seen.pool.master == "xen1"
    assert "xenbr0" in seen.pool.networks
    assert {"ext", "udev"} <= set(seen.pool.sm_types)
    local = [sr for sr in seen.srs if sr.name == "Local storage"]
    assert [[(pbd.host, pbd.attached) for pbd in sr.pbds] for sr in local] == [[("xen1", True)], [("xen2", True)]]
    assert seen.storage_vms == ()


async def test_a_password_is_never_read_back(xenapi: XenApi) -> None:
    ref = await xenapi.text("secret.create", {"value": Secret("s3cret"), "other_config": {}})
    uuid = await xenapi.text("secret.get_uuid", ref)
    await xenapi.call("pool.add_to_other_config", await records.pool_ref(xenapi), "shoal:ssh-key", uuid)
    seen = await look_at_pool(xenapi, {})
    assert seen.pool.secrets == (uuid,)
    assert "s3cret" not in repr(seen)
    await xenapi.call("secret.destroy", ref)
    assert (await look_at_pool(xenapi, {})).pool.secrets == ()
    with pytest.raises(XenApiError) as raised:
        await xenapi.call("pool.add_to_other_config", await records.pool_ref(xenapi), "shoal:ssh-key", uuid)
    assert raised.value.code == "MAP_DUPLICATE_KEY"


async def make_vdi(xenapi: XenApi, size_bytes: int) -> str:
    for ref, sr in (await xenapi.records("SR")).items():
        if sr["name_label"] == "Local storage":
            record = {"SR": ref, "virtual_size": size_bytes, "type": "user", "name_label": "image", "other_config": {}}
            record |= {"name_description": "", "sharable": False, "read_only": False, "xenstore_data": {}}
            record |= {"sm_config": {}, "tags": []}
            return await xenapi.call_async("VDI.create", record, timeout_s=30)
    raise AssertionError("no Local storage")


async def test_an_image_is_imported_sparsely(xenapi: XenApi, pool: LoopbackPool, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
        for offset, data in ((0, b"begin"), (20 * MIB - 2, b"over the edge"), (64 * MIB - 3, b"end")):
            file.seek(offset)
            file.write(data)
    vdi = await make_vdi(xenapi, 64 * MIB)
    progress: list[tuple[int, int]] = []
    await xenapi.import_vdi(
        vdi,
        image,
        host_address=f"127.0.0.1:{pool.peers['xen1'].port}",
        progress=lambda done, total: progress.append((done, total)),
    )
    made = pool.dir / "xen1" / "sr" / f"{await xenapi.text('VDI.get_uuid', vdi)}.img"
    assert made.read_bytes() == image.read_bytes()
    assert made.stat().st_blocks * 512 < 8 * MIB
    assert progress[-1][0] == progress[-1][1]
    assert await xenapi.records("task") == {}


async def test_an_import_to_a_vdi_that_is_too_small_says_so(xenapi: XenApi, pool: LoopbackPool, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"x" * 4 * MIB)
    vdi = await make_vdi(xenapi, MIB)
    address = f"127.0.0.1:{pool.peers['xen1'].port}"
    with pytest.raises(XenApiError):
        await xenapi.import_vdi(vdi, image, host_address=address, progress=lambda *_: None)


async def test_a_wrong_password(pool: LoopbackPool, tmp_path: Path) -> None:
    client = XenApi(pool.url, "root", Secret("wrong"), pins=Pins(tmp_path / "pins.json"))
    with pytest.raises(LoginRefused):
        await client.login()
    await client.close()


async def test_a_restart_of_the_toolstack_costs_one_more_login(xenapi: XenApi, pool: LoopbackPool) -> None:
    assert await xenapi.records("pool")
    await asyncio.to_thread(pool.master.stop)
    await asyncio.to_thread(pool.master.start)
    assert await xenapi.records("pool")
