"""Tapdisk in front of a device, on both kinds of host, with everything that can go wrong on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.shoal_dom0 import tapctl, tapdisk
from dom0.shoal_dom0.deadline import Deadline
from dom0.shoal_dom0.errors import SRError, VDIInUse, VDIUnavailable
from dom0.tests.host import PYTHON
from dom0.tests.tap import NOTHING, Tap, nbd_size_bytes

MIB = 1 << 20
DISK = "11111111-1111-1111-1111-111111111111/22222222-2222-2222-2222-222222222222"
OTHER = "11111111-1111-1111-1111-111111111111/33333333-3333-3333-3333-333333333333"
FILES = pytest.mark.parametrize("tap", ["files"], indirect=True)
START = ("list", "allocate", "spawn", "attach", "open")
STOP = ("list", "close", "detach", "free")
DRIVER = """
import sys
sys.path.insert(0, {dom0!r})
from shoal_dom0 import tapctl, tapdisk
from shoal_dom0.deadline import Deadline
tapctl.TAP_CTL, tapdisk.CONTROL, tapdisk.BLKTAP_MODULE, tapdisk.BLKTAP_DEVICES = {paths!r}
tapdisk.{call}
"""


@pytest.fixture(params=["kernel", "files"])
def tap(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tap]:
    made = Tap(tmp_path, request.param)
    for owner, name, value in (
        (tapctl, "TAP_CTL", made.program),
        (tapdisk, "CONTROL", made.run),
        (tapdisk, "BLKTAP_MODULE", made.device_folder),
        (tapdisk, "BLKTAP_DEVICES", made.device_folder),
    ):
        monkeypatch.setattr(owner, name, str(value))
    yield made
    made.stop()


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return make_device(tmp_path / "rbd0")


def make_device(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    return path


def start(device: Path, disk: str = DISK, *, writable: bool = True) -> tapdisk.Tapdisk:
    return tapdisk.start(disk, str(device), writable, Deadline(20))


def stop(device: Path, disk: str = DISK) -> None:
    tapdisk.stop(disk, [str(device)], Deadline(20))


def link(disk: str = DISK) -> Path:
    return Path(tapdisk.nbd_link(disk))


def drive(tap: Tap, call: str) -> subprocess.Popen[bytes]:
    """The same call in a process that can be killed."""
    paths = (tapctl.TAP_CTL, tapdisk.CONTROL, tapdisk.BLKTAP_MODULE, tapdisk.BLKTAP_DEVICES)
    dom0 = str(Path(__file__).resolve().parents[1])
    code = DRIVER.format(dom0=dom0, paths=paths, call=call)
    return subprocess.Popen([PYTHON, "-IS", "-c", code], stderr=subprocess.DEVNULL)


def wait_until(ready: object, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_it_serves_the_device_until_it_is_stopped(tap: Tap, device: Path) -> None:
    started = start(device)
    assert link().resolve() == tap.run / f"nbd{started.pid}.{started.minor}"
    assert nbd_size_bytes(link()) == 64 * MIB
    assert tap.has_open(device)
    if tap.device_folder.exists():
        assert Path(started.device) == tap.device_folder / f"tapdev{started.minor}"
        assert Path(started.device).exists()
    else:
        assert started.device == ""
    stop(device)
    assert tap.left() == NOTHING
    assert not tap.has_open(device)
    stop(device)


def test_started_twice_it_is_one(tap: Tap, device: Path) -> None:
    assert start(device) == start(device)
    assert len(tap.pids()) == 1


def test_disks_have_a_tapdisk_each(tap: Tap, device: Path, tmp_path: Path) -> None:
    second = make_device(tmp_path / "rbd1")
    assert start(device).pid != start(second, OTHER).pid
    stop(device)
    wait_until(lambda: len(tap.pids()) == 1)
    assert nbd_size_bytes(link(OTHER)) == 64 * MIB


def test_what_may_only_be_read_is_opened_so(tap: Tap, device: Path) -> None:
    start(device, writable=False)
    assert [call for call in tap.calls() if call.startswith("open")][0].endswith(f"-a aio:{device} -R")


def test_after_its_death_there_is_a_new_one(tap: Tap, device: Path) -> None:
    first = start(device)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: first.pid not in tap.pids())
    second = start(device)
    assert second.pid != first.pid
    assert nbd_size_bytes(link()) == 64 * MIB
    assert len(tap.left()["numbers"]) == 1
    stop(device)
    assert tap.left() == NOTHING


def test_after_its_death_stopping_clears_up(tap: Tap, device: Path) -> None:
    os.kill(start(device).pid, signal.SIGKILL)
    wait_until(lambda: not tap.pids())
    stop(device)
    assert tap.left() == NOTHING


@FILES
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", START)
def test_killed_in_the_start_and_repeated(tap: Tap, device: Path, verb: str, when: str) -> None:
    tap.trouble(verb, "kill-driver", when=when)
    assert drive(tap, f"start({DISK!r}, {str(device)!r}, True, Deadline(20))").wait(20) == -signal.SIGKILL
    start(device)
    assert nbd_size_bytes(link()) == 64 * MIB
    stop(device)
    left = tap.left()
    if verb == "allocate":  # killed before it could note the number, which is lost until the host restarts
        assert left.pop("numbers") == ["tapdisk-0"]
        assert left == {key: [] for key in left}
    else:
        assert left == NOTHING


@pytest.mark.parametrize("verb", ["spawn", "attach", "open"])
def test_killed_in_the_start_and_stopped(tap: Tap, device: Path, verb: str) -> None:
    tap.trouble(verb, "kill-driver", when="after")
    assert drive(tap, f"start({DISK!r}, {str(device)!r}, True, Deadline(20))").wait(20) == -signal.SIGKILL
    stop(device)
    assert tap.left() == NOTHING


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", STOP)
def test_killed_in_the_stop_and_repeated(tap: Tap, device: Path, verb: str, when: str) -> None:
    start(device)
    tap.trouble(verb, "kill-driver", when=when)
    assert drive(tap, f"stop({DISK!r}, [{str(device)!r}], Deadline(20))").wait(20) == -signal.SIGKILL
    stop(device)
    assert tap.left() == NOTHING


@pytest.mark.parametrize("verb", START)
def test_a_start_that_fails_leaves_nothing(tap: Tap, device: Path, verb: str) -> None:
    tap.trouble(verb, "fail", code=errno.ENOSPC)
    with pytest.raises(SRError, match=f"tap-ctl {verb}: No space left on device"):
        start(device)
    assert tap.left() == NOTHING


@FILES
@pytest.mark.parametrize("verb", START)
def test_a_start_that_hangs_ends_in_time(tap: Tap, device: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapctl, "TIMEOUT_S", 1.0)
    tap.trouble(verb, "hang")
    started = time.monotonic()
    with pytest.raises(VDIUnavailable, match=f"tap-ctl {verb} did not end within 1 s"):
        start(device)
    assert time.monotonic() - started < 6
    assert tap.left() == NOTHING


@FILES
def test_a_start_that_hangs_to_the_end_leaves_time_to_undo_it(tap: Tap, device: Path) -> None:
    tap.trouble("open", "hang")
    timeout_s = tapdisk.LAUNCH_RESERVE_S + 2.0
    started = time.monotonic()
    with pytest.raises(VDIUnavailable, match="tap-ctl open did not end within"):
        tapdisk.start(DISK, str(device), True, Deadline(timeout_s))
    assert time.monotonic() - started < timeout_s
    assert tap.left() == NOTHING


def test_a_tapdisk_that_dies_while_it_opens_the_device_is_an_error(tap: Tap, device: Path) -> None:
    tap.trouble("open", "kill-tapdisk")
    with pytest.raises(VDIUnavailable, match=f"no tapdisk for aio:{device}: tap-ctl open"):
        start(device)
    assert tap.left() == NOTHING


def test_a_device_that_is_not_there_is_an_error(tap: Tap, tmp_path: Path) -> None:
    with pytest.raises(VDIUnavailable, match="No such file or directory"):
        start(tmp_path / "rbd7")
    assert tap.left() == NOTHING


@FILES
@pytest.mark.parametrize(("verb", "code"), [("list", errno.EPROTO), ("list", errno.ENOENT), ("spawn", errno.EPERM)])
def test_what_passes_is_tried_again(tap: Tap, device: Path, verb: str, code: int) -> None:
    tap.trouble(verb, "fail", code=code, times=3)
    start(device)


@pytest.mark.parametrize("verb", ["close", "free"])
def test_stopping_waits_for_a_moment_of_use(tap: Tap, device: Path, verb: str) -> None:
    start(device)
    tap.trouble(verb, "fail", code=errno.EBUSY, times=3)
    stop(device)
    assert tap.left() == NOTHING


@FILES
def test_a_disk_that_stays_in_use_is_not_forced(tap: Tap, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapdisk, "BUSY_TIMEOUT_S", 1.0)
    start(device)
    tap.trouble("close", "fail", code=errno.EBUSY, times=10**6)
    with pytest.raises(VDIInUse):
        stop(device)
    assert nbd_size_bytes(link()) == 64 * MIB


@FILES
def test_one_that_served_another_device_is_ended(tap: Tap, device: Path, tmp_path: Path) -> None:
    """The disk was mapped under another number before."""
    start(make_device(tmp_path / "rbd1"))
    start(device)
    wait_until(lambda: len(tap.pids()) == 1)
    assert not tap.has_open(tmp_path / "rbd1")
    assert tap.has_open(device)


@FILES
def test_a_paused_one_of_another_disk_is_left_alone(tap: Tap, device: Path) -> None:
    """It names a device that has become this disk's since, but it has closed it."""
    other = start(device, OTHER)
    tapctl.run("pause", ["-p", other.pid, "-m", other.minor], Deadline(5))
    started = start(device)
    assert started.pid != other.pid
    stop(device)
    wait_until(lambda: tap.pids() == [other.pid])


def test_what_it_prints_is_not_guessed_at(tap: Tap, device: Path) -> None:
    for verb, text in (("list", "pid=1 colour=red"), ("allocate", "/dev/sda"), ("spawn", "tapdisk spawned with pid 7")):
        tap.trouble(verb, "print", text=text)
        with pytest.raises(SRError, match="is not understood"):
            start(device)
        stop(device)
        assert tap.left()["pids"] == []


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("pid=51 minor=2 state=0 args=vhd:/var/run/sr mount/a disk.vhd", (51, 2, 0, "vhd:/var/run/sr mount/a disk.vhd")),
        ("pid=51 minor=0 state=0x22", (51, 0, 0x22, "")),
        ("pid=51", (51, None, 0, "")),
        ("minor=7", (None, 7, 0, "")),
    ],
)
def test_a_row_is_read(line: str, row: tuple[int | None, int | None, int, str]) -> None:
    read = tapctl._row(line)
    assert (read.pid, read.minor, read.state, read.args) == row


@pytest.mark.parametrize(
    "line",
    [
        "",
        "blktap kernel module not installed",
        "pid=x",
        "pid=-1",
        "pid=1  minor=2",
        "minor=2 pid=1",
        "pid=1 pid=2",
        "state=0",
        "pid=1 minor=2 state=7 args=vhd:/a",
        "pid=1 minor=2 state=0 args=/a",
        "pid=1 minor=2 state=0 args=",
    ],
)
def test_a_strange_row_is_refused(line: str) -> None:
    with pytest.raises(SRError, match="is not understood"):
        tapctl._row(line)


def grow(device: Path) -> None:
    os.truncate(device, 128 * MIB)


def test_a_refresh_shows_the_new_size(tap: Tap, device: Path) -> None:
    start(device)
    grow(device)
    assert nbd_size_bytes(link()) == 64 * MIB
    tapdisk.refresh(DISK, str(device), Deadline(10))
    assert nbd_size_bytes(link()) == 128 * MIB


def test_a_refresh_without_a_tapdisk_is_nothing(tap: Tap, device: Path) -> None:
    tapdisk.refresh(DISK, str(device), Deadline(10))


@FILES
def test_a_refresh_that_cannot_unpause_at_once_goes_on(tap: Tap, device: Path) -> None:
    start(device)
    grow(device)
    tap.trouble("unpause", "fail", code=errno.EIO, times=3)
    tapdisk.refresh(DISK, str(device), Deadline(10))
    assert nbd_size_bytes(link()) == 128 * MIB


@FILES
def test_a_refresh_that_cannot_pause_is_an_error_and_leaves_it_running(tap: Tap, device: Path) -> None:
    start(device)
    tap.trouble("pause", "fail", code=errno.EIO)
    with pytest.raises(VDIUnavailable, match="Input/output error"):
        tapdisk.refresh(DISK, str(device), Deadline(10))
    assert tap.has_open(device)


@FILES
def test_a_refresh_that_is_not_through_in_time_ends_by_itself(tap: Tap, device: Path) -> None:
    start(device)
    grow(device)
    tap.trouble("pause", "hang", when="after", seconds=6)
    with pytest.raises(VDIUnavailable, match="It goes on"):
        tapdisk.refresh(DISK, str(device), Deadline(3))
    wait_until(lambda: nbd_size_bytes(link()) == 128 * MIB)
    assert tap.has_open(device)


@FILES
def test_a_driver_killed_in_a_refresh_leaves_nothing_paused(tap: Tap, device: Path) -> None:
    start(device)
    grow(device)
    tap.trouble("pause", "hang", when="after", seconds=1)
    driver = drive(tap, f"refresh({DISK!r}, {str(device)!r}, Deadline(20))")
    wait_until(lambda: any(call.startswith("pause") for call in tap.calls()) and not tap.has_open(device))
    driver.kill()
    driver.wait(10)
    wait_until(lambda: tap.has_open(device) and nbd_size_bytes(link()) == 128 * MIB)


@FILES
@pytest.mark.parametrize("heal", ["start", "refresh"])
def test_one_left_paused_is_woken_by_the_next_call(tap: Tap, device: Path, heal: str) -> None:
    started = start(device)
    tapctl.run("pause", ["-p", started.pid, "-m", started.minor], Deadline(5))
    assert not tap.has_open(device)
    if heal == "start":
        assert start(device) == started
    else:
        tapdisk.refresh(DISK, str(device), Deadline(10))
    assert tap.has_open(device)
