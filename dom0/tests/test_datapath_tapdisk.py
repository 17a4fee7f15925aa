"""Disks through tapdisk, from the driver's calls: what xapi is answered, what stands behind it, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.tests.host import Host
from dom0.tests.tap import NOTHING, Tap, nbd_size_bytes

pytestmark = pytest.mark.ceph
GIB = 1 << 30
BOTH = pytest.mark.parametrize("tap", ["kernel", "files"], indirect=True)
KERNEL = pytest.mark.parametrize("tap", ["kernel"], indirect=True)
FILES = pytest.mark.parametrize("tap", ["files"], indirect=True)


@pytest.fixture
def tap(host: Host, request: pytest.FixtureRequest) -> Iterator[Tap]:
    made = Tap(host.folder, request.param)
    yield made
    made.stop()


def plug(host: Host, disk: str, *, writable: bool = True, **keys: Any) -> dict[str, Any]:
    answer: dict[str, Any] = host.call("vdi_attach", disk, args=(str(writable).lower(),), **keys)
    host.call("vdi_activate", disk, args=(str(writable).lower(),), **keys)
    size = GIB if host.kernel.maps() else 0
    os.truncate(host.folder / "dev" / "rbd0", size)
    return answer


def unplug(host: Host, disk: str) -> None:
    host.call("vdi_deactivate", disk)
    host.call("vdi_detach", disk)


def add_vbd(host: Host, disk: str, **other_config: str) -> None:
    record = {"VDI": host.toolstack.ref(disk), "other_config": other_config}
    host.toolstack.vbds[f"OpaqueRef:vbd{len(host.toolstack.vbds)}"] = record


def backend(host: Host, disk: str) -> Path:
    return host.folder / "links" / host.sr / disk


def nbd(host: Host, disk: str) -> Path:
    return host.folder / "tap" / "run" / "nbd" / host.sr / disk


@FILES
def test_without_the_kernels_module_xapi_gets_the_nbd_socket_only(host: Host, tap: Tap) -> None:
    disk = host.create()
    answer = plug(host, disk)
    assert answer["params_nbd"] == f"nbd:unix:{nbd(host, disk)}:exportname={disk}"
    assert "params" not in answer
    assert nbd(host, disk).resolve().name == f"nbd{tap.pids()[0]}.0"


@KERNEL
def test_with_the_kernels_module_xapi_gets_the_tapdisks_device_too(host: Host, tap: Tap) -> None:
    disk = host.create()
    answer = plug(host, disk)
    assert answer["params"] == str(backend(host, disk))
    assert answer["params_nbd"] == f"nbd:unix:{nbd(host, disk)}:exportname={disk}"
    assert backend(host, disk).resolve() == tap.device_folder / "tapdev0"


@BOTH
def test_a_vbd_that_asks_for_blkback_gets_the_device_itself(host: Host, tap: Tap) -> None:
    disk = host.create()
    add_vbd(host, disk)
    add_vbd(host, disk, **{"backend-kind": "vbd"})
    answer = plug(host, disk)
    assert (answer["params"], answer["params_nbd"]) == (str(backend(host, disk)), "")
    assert backend(host, disk).resolve() == host.folder / "dev" / "rbd0"
    assert tap.pids() == []


@BOTH
def test_what_has_changed_to_blkback_loses_its_tapdisk(host: Host, tap: Tap) -> None:
    disk = host.create()
    plug(host, disk, writable=False)
    add_vbd(host, disk, **{"backend-kind": "vbd"})
    plug(host, disk, writable=False)
    assert tap.left() == NOTHING
    assert backend(host, disk).resolve() == host.folder / "dev" / "rbd0"


@BOTH
def test_unplugging_ends_the_tapdisk_then_unmaps(host: Host, tap: Tap) -> None:
    disk = host.create()
    plug(host, disk)
    unplug(host, disk)
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []
    assert not backend(host, disk).is_symlink()


@BOTH
def test_plugged_twice_it_is_one_tapdisk(host: Host, tap: Tap) -> None:
    disk = host.create()
    plug(host, disk, writable=False)
    first = tap.pids()
    plug(host, disk, writable=False)
    assert tap.pids() == first


@BOTH
def test_a_snapshot_is_read_through_tapdisk(host: Host, tap: Tap) -> None:
    snapshot = host.snapshot(host.create())
    plug(host, snapshot, writable=False)
    (opened,) = [call for call in tap.calls() if call.startswith("open")]
    assert opened.endswith(" -R")
    unplug(host, snapshot)
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []


@BOTH
def test_growing_a_disk_refreshes_the_tapdisk(host: Host, tap: Tap) -> None:
    disk = host.create()
    plug(host, disk)
    os.truncate(host.folder / "dev" / "rbd0", 2 * GIB)  # the kernel has heard of it by then
    host.call("vdi_resize", disk, args=(str(2 * GIB),))
    assert nbd_size_bytes(nbd(host, disk)) == 2 * GIB


@BOTH
def test_after_the_tapdisks_death_the_disk_can_be_unplugged_and_plugged(host: Host, tap: Tap) -> None:
    disk = host.create()
    plug(host, disk)
    os.kill(tap.pids()[0], signal.SIGKILL)
    unplug(host, disk)
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []
    plug(host, disk)
    unplug(host, disk)
    assert tap.left() == NOTHING


@BOTH
def test_detaching_the_sr_ends_forgotten_tapdisks(host: Host, tap: Tap) -> None:
    plug(host, host.create())
    host.call("sr_detach")
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []


@BOTH
@pytest.mark.parametrize("verb", ["list", "spawn", "attach", "open"])
def test_a_driver_killed_in_an_activate_leaves_what_a_detach_removes(host: Host, tap: Tap, verb: str) -> None:
    disk = host.create()
    tap.trouble(verb, "kill-driver", when="after")
    argv = host.argv(host.request("vdi_activate", disk, args=("true",)))
    assert subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == -signal.SIGKILL
    assert host.kernel.maps() == [f"vdi-{disk}"]
    host.call("vdi_detach", disk)
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []


@BOTH
def test_a_tapdisk_that_does_not_start_is_said(host: Host, tap: Tap) -> None:
    disk = host.create()
    tap.trouble("open", "fail", code=5)
    with pytest.raises(xmlrpc.client.Fault, match="no tapdisk for aio:.*: tap-ctl open: Input/output error") as caught:
        host.call("vdi_activate", disk, args=("true",))
    assert caught.value.faultCode == 46
    unplug(host, disk)
    assert tap.left() == NOTHING
    assert host.kernel.maps() == []
