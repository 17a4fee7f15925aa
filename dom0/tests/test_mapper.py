"""The images that SRs of type `lvm` lie on: mapped at boot or as soon as Ceph is up, and their PBDs plugged then."""

from __future__ import annotations

import errno
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.tests.host import KEY, PYTHON
from dom0.tests.kernel import Kernel
from dom0.tests.toolstack import SESSION, Failure, Toolstack

LAUNCH = Path(__file__).with_name("launch_mapper.py")
FSID = "3d7f1c52-0000-4000-8000-000000000001"
IMAGE = "lvm/lvm-shoal-lvm"


class Pool(Toolstack):
    """A toolstack that lets this host's root in, and knows its PBDs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.pbds: dict[str, dict[str, Any]] = {}
        self.plugged: list[str] = []

    def answer(self, method: str, params: list[Any]) -> Any:
        if method == "session.login_with_password":
            assert params[:2] == ["root", ""]
            return SESSION
        return super().answer(method, params)

    def call_session_logout(self) -> None:
        pass

    def call_host_get_by_uuid(self, uuid: str) -> str:
        if uuid != "host-uuid":
            raise Failure("UUID_INVALID", "host", uuid)
        return "OpaqueRef:host"

    def call_host_get_PBDs(self, host: str) -> list[str]:
        assert host == "OpaqueRef:host"
        return list(self.pbds)

    def call_PBD_get_record(self, ref: str) -> dict[str, Any]:
        return self.pbds[ref]

    def call_PBD_plug(self, ref: str) -> None:
        self.pbds[ref]["currently_attached"] = True
        self.plugged.append(ref)


class Dom0:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kernel = Kernel(folder)
        self.pool = Pool(folder / "xapi")
        self.device = str(folder / "dev" / "rbd" / IMAGE)
        told = {"fsid": FSID, "user": "shoal-xen", "monitors": ["10.77.0.21:6789", "10.77.0.22:6789"], "images": [IMAGE]}
        (folder / "maps.json").write_text(json.dumps(told))
        (folder / "maps.key").write_text(KEY + "\n")
        (folder / "xensource-inventory").write_text("PRODUCT_BRAND='XCP-ng'\nINSTALLATION_UUID='host-uuid'\n")

    def run(self, verb: str, *, code: int = 0) -> str:
        """What it printed, which is nothing when all is done; never the key."""
        argv = [PYTHON, "-IS", str(LAUNCH), str(self.folder), verb]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert KEY not in done.stderr
        return done.stderr

    def start_toolstack(self, *, device: str = "", attached: bool = False) -> None:
        (self.folder / "xapi_init_complete.cookie").touch()
        config = {"device": device or self.device}
        record = {"uuid": "pbd-uuid", "device_config": config, "currently_attached": attached}
        self.pool.pbds["OpaqueRef:pbd"] = record


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    made = Dom0(tmp_path)
    yield made
    made.pool.stop()
    made.kernel.stop()


def test_an_image_is_mapped_once_for_writing_and_without_a_lock(dom0: Dom0) -> None:
    assert dom0.run("check", code=1) == f"{IMAGE} is not mapped\n"
    for _ in range(2):
        assert dom0.run("now") == ""
    (line,) = dom0.kernel.lines
    monitors, options, pool, image, snapshot = line.split(" ")
    assert monitors == "10.77.0.21:6789,10.77.0.22:6789"
    assert (pool, image, snapshot) == ("lvm", "lvm-shoal-lvm", "-")
    assert options.split(",")[:2] == ["name=shoal-xen", f"secret={KEY}"]
    assert not {"exclusive", "ro"} & set(options.split(","))
    assert Path(dom0.device).resolve() == dom0.folder / "dev" / "rbd0"
    assert dom0.run("check") == ""


def test_a_link_that_leads_elsewhere_is_set_right(dom0: Dom0) -> None:
    dom0.run("now")
    link = Path(dom0.device)
    link.unlink()
    link.symlink_to(dom0.folder / "dev" / "rbd7")
    assert "does not lead to" in dom0.run("check", code=1)
    dom0.run("now")
    assert dom0.run("check") == ""
    assert len(dom0.kernel.lines) == 1


def test_at_boot_it_gives_up_in_time_while_ceph_is_away(dom0: Dom0) -> None:
    dom0.kernel.refusal = errno.ETIMEDOUT
    began = time.monotonic()
    assert dom0.run("boot", code=1) == f"the kernel did not map {IMAGE}: Connection timed out\n"
    dom0.kernel.refusal, dom0.kernel.hangs_s = 0, 8.0
    assert "mapping did not end within 2 s; Ceph's monitors are 10.77.0.21:6789" in dom0.run("boot", code=1)
    assert time.monotonic() - began < 15


def test_an_sr_is_plugged_when_its_image_came_after_the_toolstack(dom0: Dom0) -> None:
    dom0.kernel.refusal = errno.ETIMEDOUT
    dom0.run("retry", code=1)
    dom0.kernel.refusal = 0
    assert dom0.run("retry", code=1) == "the toolstack has not started yet\n"
    dom0.start_toolstack()
    assert dom0.run("retry") == ""
    assert dom0.run("retry") == ""
    assert dom0.pool.plugged == ["OpaqueRef:pbd"]


def test_what_is_plugged_or_lies_elsewhere_is_left_alone(dom0: Dom0) -> None:
    dom0.start_toolstack(attached=True)
    dom0.run("retry")
    dom0.start_toolstack(device="/dev/sdb")
    dom0.run("retry")
    assert dom0.pool.plugged == []


def test_at_boot_nothing_is_plugged(dom0: Dom0) -> None:
    dom0.start_toolstack()
    dom0.run("boot")
    assert dom0.pool.plugged == []


def test_a_plug_that_fails_is_said(dom0: Dom0) -> None:
    dom0.start_toolstack()
    dom0.pool.failing.add("PBD.plug")
    assert dom0.run("retry", code=1).startswith("PBD pbd-uuid: xapi refused PBD.plug")


def test_a_map_that_cannot_serve_is_refused(dom0: Dom0) -> None:
    dom0.kernel.add_map("lvm-shoal-lvm", "client1", read_only=True, pool="lvm")
    assert "rbd0 is mapped read-only" in dom0.run("retry", code=1)
    (dom0.folder / "block/rbd0/ro").write_text("0\n")
    (dom0.folder / "bus/devices/0/cluster_fsid").write_text("another\n")
    assert "rbd0 is mapped from another cluster (another)" in dom0.run("check", code=1)
    (dom0.folder / "bus/devices/0/cluster_fsid").write_text(FSID + "\n")
    dom0.run("now")
    assert dom0.kernel.lines == []


def test_a_host_that_has_nothing_to_map_is_done(dom0: Dom0) -> None:
    (dom0.folder / "maps.json").unlink()
    for verb in ("boot", "retry", "now", "check"):
        assert dom0.run(verb) == ""


def test_damaged_settings_are_said(dom0: Dom0) -> None:
    (dom0.folder / "maps.json").write_text('{"fsid": "x"}')
    assert "maps.json is not as Shoal wrote it" in dom0.run("retry", code=1)
    assert "usage" in dom0.run("nonsense", code=2)
