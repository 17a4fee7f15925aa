"""A spec for a Ceph cluster of somebody else's, as the program takes it: no storage VM is looked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.spec.load import parse
from shoal.spec.sources import Surroundings
from tests.contract.pools import commands
from tests.contract.test_destroy import all_there_is, disk_on_sr, problems, shoaled
from tests.contract.test_product_command import run, start

SPEC = """\
pool:
  url: {url}
  password: {{env: PASSWORD}}
ssh: {{port: 1}}
hosts: [{{name: xen1}}]
ceph:
  image: "ceph:v18.2.7"
  existing:
    fsid: 9aa2cd5d-1f3a-4a45-8f1e-0b3b1e5a0001
    monitors: [127.0.0.1]
    key: {{env: PASSWORD}}
    volume_services: [127.0.0.1]
    authority: authority
srs: [{{name: shoal, type: rbd, namespace: xen}}]
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackPool]:
    with LoopbackPool(tmp_path_factory.mktemp("pool")) as running:
        yield running


def test_from_the_pack_to_the_plan(pool: LoopbackPool, tmp_path: Path) -> None:
    spec = tmp_path / "shoal.yaml"
    spec.write_text(SPEC.format(url=pool.url))
    code, said = run(spec, "plan")
    assert code == 1
    assert f"{spec}:13:16: ceph.existing.authority: there is no certificate authority" in said

    with start("volume-service", "-f", spec, "--to", tmp_path / "pack") as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "the certificate authority; keep its ca.key safe" in out

    # There is no dom0 behind the stand-in's SSH port; that is all that is left to say.
    code, said = run(spec, "plan", "--json")
    plan, _ = json.JSONDecoder().raw_decode(said)
    assert (code, [problem["where"] for problem in plan["problems"]]) == (1, ["hosts.0"])
    assert [action["kind"] for action in plan["actions"]] == ["dom0_kit", "toolstack", "volume_client", "shared_sr"]
    code, said = run(spec, "status")
    assert code == 1 and "there is no SR shoal" in said and "storage VM" not in said


async def test_its_disks_are_deleted_one_by_one_and_its_place_is_given_back(tmp_path: Path) -> None:
    """Not so with storage VMs, whose partitions go with all that is on them."""
    async with shoaled(tmp_path) as site:
        text = SPEC.format(url=site.pool.url).replace("port: 1", f"port: {site.dom0.port}")
        site.document = parse(text, tmp_path / "existing.yaml", Surroundings(tmp_path, {"PASSWORD": PASSWORD}))
        disk = await asyncio.to_thread(disk_on_sr, site.api)
        await asyncio.to_thread(site.api.VDI.snapshot, disk, {})
        (what,) = problems(await site.destroy())
        assert "2 virtual disks lie on SR 'shoal'" in what

        asked = len(commands(site.pool.master))
        result = await site.destroy(with_disks=True)
        assert [str(outcome.error) for outcome in result.failures] == []
        told = commands(site.pool.master)[asked:]
        assert (told.count("vdi_delete"), told.count("sr_delete")) == (2, 1)
        assert [file.name for file in (site.pool.master.root / "storage").iterdir()] == []
        assert await asyncio.to_thread(all_there_is, site) == site.before
        again = await site.destroy(with_disks=True)
        assert again.plan.changes == () and again.plan.problems == ()
