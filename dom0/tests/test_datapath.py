"""What the driver makes of the kernel's maps: which are whose, which still serve, and what it may ask the kernel."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dom0.shoal_dom0 import datapath
from dom0.shoal_dom0.deadline import Deadline
from dom0.shoal_dom0.errors import InvalidSecret, SRError, VDIInUse, VDIUnavailable
from dom0.shoal_dom0.settings import Settings
from dom0.tests.host import Host
from dom0.tests.kernel import Kernel

DISK = "22222222-2222-2222-2222-222222222222"
SNAP = "33333333-3333-3333-3333-333333333333"
FSID = "44444444-4444-4444-4444-444444444444"
KEY = "AQD-the-secret-key-of-the-hosts=="


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    for name, folder in (("BUS", "bus"), ("BLOCK", "block"), ("DEVICES", "dev")):
        monkeypatch.setattr(datapath, name, str(tmp_path / folder))
    yield made
    made.stop()


def settings(**changes: str) -> Settings:
    config = {
        "monitors": "127.0.0.1:6789,127.0.0.2:6789",
        "volumes": "127.0.0.1:1",
        "pool": "rbd",
        "user": "shoal-xen",
        "password_secret": DISK,
    }
    return Settings({**config, **changes})


def numbers(maps: list[datapath.Map]) -> list[str]:
    return [found.number for found in maps]


def test_a_snapshots_map_is_not_its_disks(kernel: Kernel) -> None:
    kernel.add_map(f"vdi-{DISK}", "client1")
    kernel.add_map(f"vdi-{DISK}", "client2", snap=f"snap-{SNAP}", read_only=True)
    assert numbers(datapath.find("rbd", "", f"vdi-{DISK}")) == ["0"]
    assert numbers(datapath.find("rbd", "", None, f"snap-{SNAP}")) == ["1"]


def test_a_snapshots_map_is_found_after_its_image_was_renamed(kernel: Kernel) -> None:
    """The kernel goes on showing the name of the time of the map; the id stays."""
    kernel.add_map(f"vdi-{DISK}", "client1", snap=f"snap-{SNAP}", read_only=True, image_id="10ab")
    kernel.add_map("base-10ab", "client2", snap=f"snap-{SNAP}", read_only=True, image_id="10ab")
    kernel.add_map("base-77ff", "client3", snap=f"snap-{SNAP}", read_only=True, image_id="77ff")
    assert numbers(datapath.find("rbd", "", None, f"snap-{SNAP}", "10ab")) == ["0", "1"]


def test_maps_of_another_pool_or_namespace_are_not_ours(kernel: Kernel, tmp_path: Path) -> None:
    kernel.add_map(f"vdi-{DISK}", "client1", pool="other")
    kernel.add_map(f"vdi-{DISK}", "client2")
    (tmp_path / "bus/devices/1/pool_ns").write_text("customer\n")
    assert datapath.find("rbd", "", f"vdi-{DISK}") == []
    assert numbers(datapath.find("rbd", "customer", f"vdi-{DISK}")) == ["1"]


def test_all_maps_of_the_sr_are_known_where_the_cluster_is(kernel: Kernel, tmp_path: Path) -> None:
    kernel.add_map(f"vdi-{DISK}", "client1")
    kernel.add_map("base-10ab", "client2", snap=f"snap-{SNAP}", read_only=True)
    kernel.add_map("somebody-elses", "client3")
    assert datapath.mapped(settings(fsid=FSID)) == set()
    for number in "012":
        (tmp_path / "bus/devices" / number / "cluster_fsid").write_text(FSID + "\n")
    assert datapath.mapped(settings(fsid=FSID)) == {DISK, SNAP}
    assert datapath.mapped(settings()) == set()
    assert datapath.clients() == {"1", "2", "3"}


@pytest.mark.parametrize("key", ["", "two words", "comma,no_such_option", "line\nbreak", "schlüssel", "nul\0"])
def test_a_key_that_would_be_more_than_a_key_is_refused_and_not_quoted(kernel: Kernel, key: str) -> None:
    with pytest.raises(InvalidSecret) as caught:
        datapath.map_image(settings(), key, f"vdi-{DISK}", True, Deadline(5))
    assert not key or key not in caught.value.reason
    assert kernel.lines == []


@pytest.mark.parametrize("name", ["two words", "a,b", "", "line\nbreak", "x" * 600])
def test_a_name_that_would_be_more_than_a_name_is_refused(kernel: Kernel, name: str) -> None:
    """Names of images and snapshots come from the volume service."""
    for image, snap in ((name, "-"), (f"vdi-{DISK}", name)):
        with pytest.raises(SRError, match="cannot be part of a map request"):
            datapath.map_image(settings(), KEY, image, False, Deadline(5), snap)
    assert kernel.lines == []


def a_map(device: Path) -> datapath.Map:
    return datapath.Map("0", "1", str(device), False, "")


def test_a_map_that_gives_errors_does_not_read(tmp_path: Path) -> None:
    device = tmp_path / "rbd0"
    device.write_bytes(bytes(8192))
    assert datapath.reads(a_map(device), Deadline(5))
    assert not datapath.reads(a_map(Path("/proc/self/mem")), Deadline(5))  # at its start, an I/O error
    assert not datapath.reads(a_map(tmp_path / "rbd1"), Deadline(5))


def test_a_read_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datapath, "_read_start", lambda path: time.sleep(60))
    started = time.monotonic()
    with pytest.raises(VDIUnavailable, match="did not end within"):
        datapath.reads(a_map(tmp_path / "rbd0"), Deadline(0.5))
    assert time.monotonic() - started < 2.5


def refusing(number: int, hangs: str = "nothing") -> Callable[[str, bytes], None]:
    """A kernel that answers so to each request, but for those of one kind, to which it says nothing."""

    def write(path: str, data: bytes) -> None:
        if os.path.basename(path).startswith(hangs):
            time.sleep(60)
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EBUSY, "still open in this host"),
        (errno.ENOENT, "has not ended mapping"),
        (errno.EINPROGRESS, "has not ended unmapping"),
    ],
    ids=["EBUSY", "ENOENT", "EINPROGRESS"],
)
def test_a_device_that_the_kernel_still_shows_is_not_unmapped(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """While it scans a new device's partitions, for as long as Ceph does not answer, it knows of none to remove."""
    kernel.add_map(f"vdi-{DISK}", "client1")
    monkeypatch.setattr(datapath, "_write", refusing(number))
    monkeypatch.setattr(datapath, "BUSY_TIMEOUT_S", 0.3)
    (found,) = datapath.find("rbd", "", f"vdi-{DISK}")
    with pytest.raises(VDIInUse, match=said):
        datapath.unmap(found, Deadline(60))


def test_unmapping_waits_until_the_kernel_has_ended_adding_and_removing(lone_host: Host) -> None:
    lone_host.kernel.add_map(f"vdi-{DISK}", "client1")
    lone_host.kernel.not_yet = [errno.ENOENT, errno.EINPROGRESS]
    lone_host.call("vdi_detach", DISK)
    assert lone_host.kernel.maps() == []


def test_a_number_that_has_become_another_maps_is_left_alone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.add_map(f"vdi-{DISK}", "client1")
    (found,) = datapath.find("rbd", "", f"vdi-{DISK}")
    (kernel.folder / "bus/devices/0/client_id").write_text("client2\n")
    monkeypatch.setattr(datapath, "_write", refusing(errno.EIO))
    datapath.unmap(found, Deadline(5))


def test_a_map_that_hangs_is_told_in_time_also_if_it_cannot_be_undone(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.add_map(f"vdi-{DISK}", "client1")
    monkeypatch.setattr(datapath, "_write", refusing(errno.ENOENT, hangs="add"))
    monkeypatch.setattr(datapath, "MAP_RESERVE_S", 1.0)
    timeout_s = 1.2
    started = time.monotonic()
    with pytest.raises(VDIUnavailable, match="mapping .* did not end .* 127.0.0.1:6789.* has not ended mapping"):
        datapath.map_image(settings(), KEY, f"vdi-{DISK}", True, Deadline(timeout_s))
    assert time.monotonic() - started < timeout_s + datapath.BUSY_PAUSE_S + datapath.REAP_TIMEOUT_S
