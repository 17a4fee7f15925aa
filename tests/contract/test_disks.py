"""`shoal disk` against the stand-in over real HTTPS: in, out, cut off anywhere, and again."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.pins import Pins
from shoal.clients.xenapi import ToolstackUnreachable, XenApi
from shoal.kit.secret import Secret
from shoal.observe.virtual_disks import look_at_file, look_at_virtual_disks
from shoal.plan import disk_import
from shoal.plan.action import Action, Plan
from shoal.steps import disk_import as step
from shoal.steps.tools import Tools
from tests.contract.pools import log_in, vbd_record, vm_record
from tests.contract.test_product_command import SPEC, start

KIB, MIB = 1 << 10, 1 << 20
SR = "Local storage"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackPool]:
    with LoopbackPool(tmp_path_factory.mktemp("pool")) as running:
        yield running


@pytest.fixture
def spec(pool: LoopbackPool, tmp_path: Path) -> Path:
    file = tmp_path / "shoal.yaml"
    file.write_text(SPEC.format(url=pool.url))
    return file


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Sparse, with data at both ends, and not a whole number of MiB."""
    path = tmp_path / f"{tmp_path.name}.raw"
    with path.open("wb") as file:
        file.truncate(9 * MIB + 512)
        for offset in (0, 5 * MIB, 9 * MIB):
            file.seek(offset)
            file.write(os.urandom(512))
    return path


def disk(spec: Path, verb: str, *arguments: str) -> tuple[int, str]:
    with start("disk", verb, *arguments, "-f", spec, "--state", spec.parent / "state") as process:
        out, err = process.communicate(timeout=240)
        return process.returncode, out + err


def behind(pool: LoopbackPool, uuid: str) -> Path:
    """The file that the stand-in keeps a disk in."""
    return pool.master.dir / "sr" / f"{uuid}.img"


def records(pool: LoopbackPool, name: str) -> list[dict[str, Any]]:
    return [vdi for vdi in log_in(pool).VDI.get_all_records().values() if vdi["name_label"].startswith(name)]


def test_in_and_out_again(spec: Path, pool: LoopbackPool, image: Path, tmp_path: Path) -> None:
    name = image.stem
    code, said = disk(spec, "import", str(image), "--sr", SR)
    (record,) = records(pool, name)
    assert (code, said.splitlines()[-1]) == (0, f"it is imported: VDI {record['uuid']}")
    assert behind(pool, record["uuid"]).stat().st_blocks * 512 < MIB
    assert set(record["other_config"]) == {"shoal:import", "shoal:imported"}

    code, said = disk(spec, "list", "--sr", SR)
    assert code == 0 and record["uuid"] in said and "10 MiB" in said
    code, said = disk(spec, "export", name, str(tmp_path / "out.raw"))
    assert code == 0 and f"export of {name}" in said
    out = tmp_path / "out.raw"
    assert out.read_bytes()[: image.stat().st_size] == image.read_bytes()
    assert out.stat().st_size == 10 * MIB
    assert out.stat().st_blocks * 512 < MIB
    assert not out.with_name("out.raw.part").exists()


def test_a_second_import_changes_nothing_and_a_second_export_is_refused(
    spec: Path, pool: LoopbackPool, image: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        code, said = disk(spec, "import", str(image), "--sr", SR, "--name", "twice", "--json")
        assert code == 0
    answer, _ = json.JSONDecoder().raw_decode(said)
    (record,) = records(pool, "twice")
    assert (answer["actions"][0]["change"], answer["actions"][0]["vdi"]) == ("none", record["uuid"])
    for wanted in (0, 1):
        code, said = disk(spec, "export", record["uuid"], str(tmp_path / "out.raw"))
        assert code == wanted
    assert "out.raw is there already  → name another file" in said


def test_a_dry_run_says_what_it_would_do(spec: Path, pool: LoopbackPool, image: Path, tmp_path: Path) -> None:
    code, said = disk(spec, "import", str(image), "--sr", SR, "--name", "dry", "--dry-run")
    assert code == 0 and "+ import of dry" in said and "of it data) to SR 'Local storage'" in said
    assert records(pool, "dry") == []
    code, said = disk(spec, "import", str(image), "--sr", "nowhere", "--dry-run")
    assert code == 1 and "the pool has no SR 'nowhere'  → it has Local storage" in said


def test_a_disk_in_use_is_not_exported(spec: Path, pool: LoopbackPool, image: Path, tmp_path: Path) -> None:
    assert disk(spec, "import", str(image), "--sr", SR, "--name", "used")[0] == 0
    api = log_in(pool)
    (vdi,) = api.VDI.get_by_name_label("used")
    vm = api.VM.create(vm_record("user"))
    api.VBD.create(vbd_record(vm, vdi))
    api.VM.start(vm, False, False)
    code, said = disk(spec, "export", "used", str(tmp_path / "out.raw"))
    assert code == 1 and "the disk is in use by user  → shut it down, or xe vdi-snapshot" in said
    assert list(tmp_path.glob("out*")) == []
    code, said = disk(spec, "move", "used", "--sr", SR, "--yes")
    assert code == 0 and "it is on SR 'Local storage' already" in said
    api.VM.hard_shutdown(vm)


def test_a_move_asks_and_here_nobody_answers(spec: Path) -> None:
    code, said = disk(spec, "move", "x", "--sr", SR)
    assert code == 1 and "disk move asks before it changes anything, and nobody can answer here" in said


class CutOff(XenApi):
    """A pool that goes away before or after the n-th call that changes something."""

    changes, cut_at, done_first = 0, -1, False

    async def _request(self, method: str, params: list[object], *, timeout_s: float) -> object:
        if "get_" in method or method.startswith(("session.", "task.")):
            return await super()._request(method, params, timeout_s=timeout_s)
        self.changes += 1
        if self.changes == self.cut_at and not self.done_first:
            raise ToolstackUnreachable("cut off")
        answer = await super()._request(method, params, timeout_s=timeout_s)
        if self.changes == self.cut_at:
            await asyncio.sleep(0.3)  # an asynchronous call goes on without us
            raise ToolstackUnreachable("cut off")
        return answer


class Importer:
    """Runs the step, 64 KiB of data at a time."""

    def __init__(self, pool: LoopbackPool, image: Path, folder: Path, name: str) -> None:
        self.pool, self.image, self.name = pool, image, name
        self.xenapi = CutOff(pool.url, "root", Secret(PASSWORD), pins=Pins(folder / "pins.json"))
        self.said: list[str] = []

    async def plan(self) -> Plan:
        seen = await look_at_virtual_disks(self.xenapi)
        return disk_import.plan(look_at_file(self.image), SR, self.name, seen)

    async def run(self) -> Action:
        (action,) = (await self.plan()).actions
        action = replace(action, settings={**action.settings, "segment_bytes": 64 * KIB})
        tools = Tools(SimpleNamespace(xenapi=self.xenapi), lambda _, text: self.said.append(text))  # type: ignore[arg-type]
        await step.apply(action, tools)
        assert await step.verify(action, tools) == ""
        return action


@pytest.mark.parametrize("done_first", [False, True], ids=["before", "after"])
async def test_cut_off_at_any_change(pool: LoopbackPool, tmp_path: Path, done_first: bool) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(160 * KIB))
    number = 0
    while True:
        number += 1
        name = f"cut {number} {done_first}"
        one = Importer(pool, image, tmp_path, name)
        one.xenapi.cut_at, one.xenapi.done_first = number, done_first
        try:
            await one.run()
        except ToolstackUnreachable:
            await one.run()
        finally:
            await one.xenapi.close()
        (record,) = records(pool, name)
        assert record["name_label"] == name
        assert behind(pool, record["uuid"]).read_bytes()[: 160 * KIB] == image.read_bytes()
        if one.xenapi.changes < number:
            break
    assert number == 12  # create, three segments of two marks each, one mark of two calls, name, mark


async def test_what_was_confirmed_is_not_sent_again(pool: LoopbackPool, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(256 * KIB))
    one = Importer(pool, image, tmp_path, "resumed")
    one.xenapi.cut_at = 6  # creating; then removing and adding the mark of each segment
    with pytest.raises(ToolstackUnreachable):
        await one.run()
    (record,) = records(pool, "resumed")
    assert (record["name_label"], record["other_config"]["shoal:import-bytes"]) == (
        "resumed (import not finished)",
        str(128 * KIB),
    )
    (action,) = (await one.plan()).actions
    assert action.reason.endswith("goes on after 128 KiB")
    with behind(pool, record["uuid"]).open("r+b") as file:
        file.write(b"not sent again")
    await one.run()
    await one.xenapi.close()
    got = behind(pool, record["uuid"]).read_bytes()
    assert got[:14] == b"not sent again"
    assert got[14 : 256 * KIB] == image.read_bytes()[14:]


async def test_a_file_that_changes_meanwhile_is_not_taken_for_whole(pool: LoopbackPool, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(256 * KIB))
    one = Importer(pool, image, tmp_path, "changing")
    one.xenapi.cut_at = 4
    with pytest.raises(ToolstackUnreachable):
        await one.run()
    image.write_bytes(os.urandom(256 * KIB))
    (problem,) = (await one.plan()).problems
    assert problem.what.endswith("as 'changing' was begun, and the file was changed since")
    await one.xenapi.close()
