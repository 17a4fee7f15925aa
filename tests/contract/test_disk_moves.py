"""`shoal disk move` against the stand-in: from Local storage to a driver's SR, and from there to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import MIB, install_driver, log_in, make_sr, vbd_record, vm_record
from tests.contract.test_disks import SR, disk
from tests.contract.test_product_command import SPEC


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackPool]:
    made = LoopbackPool(tmp_path_factory.mktemp("pool"))
    install_driver(made.master)
    with made:
        make_sr(log_in(made), made)
        yield made


@pytest.fixture
def spec(pool: LoopbackPool, tmp_path: Path) -> Path:
    file = tmp_path / "shoal.yaml"
    file.write_text(SPEC.format(url=pool.url))
    return file


def test_a_disk_moves_and_its_vm_has_it(spec: Path, pool: LoopbackPool, tmp_path: Path) -> None:
    image = tmp_path / "web.raw"
    image.write_bytes(os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB))
    assert disk(spec, "import", str(image), "--sr", SR)[0] == 0
    api: Any = log_in(pool)
    (old,) = api.VDI.get_by_name_label("web")
    uuid = api.VDI.get_uuid(old)
    vm = api.VM.create(vm_record("web"))
    api.VBD.create(vbd_record(vm, old, userdevice="3", mode="RO", other_config={"backend-kind": "vbd"}))

    code, said = disk(spec, "move", "web", "--sr", "shared", "--yes", "--json")
    answer, _ = json.JSONDecoder().raw_decode(said)
    assert (code, answer["actions"][0]["change"]) == (0, "none"), said
    (vbd,) = [api.VBD.get_record(ref) for ref in api.VM.get_VBDs(vm)]
    assert (vbd["userdevice"], vbd["mode"], vbd["other_config"]) == ("3", "RO", {"backend-kind": "vbd"})
    assert api.VDI.get_uuid(vbd["VDI"]) == answer["actions"][0]["vdi"]
    assert api.VDI.get_name_label(vbd["VDI"]) == "web"
    assert api.VDI.get_VBDs(old) == []

    assert disk(spec, "export", answer["actions"][0]["vdi"], str(tmp_path / "out.raw"))[0] == 0
    assert (tmp_path / "out.raw").read_bytes() == image.read_bytes()

    code, said = disk(spec, "move", uuid, "--sr", "shared", "--yes", "--delete-source")
    assert code == 0, said
    assert api.VDI.get_by_name_label("web") == [vbd["VDI"]]
    code, said = disk(spec, "move", uuid, "--sr", "shared", "--yes", "--delete-source")
    assert code == 0 and "it was moved: VDI" in said
