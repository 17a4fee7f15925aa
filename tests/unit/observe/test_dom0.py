"""dom0/probe.py on real tables in real files, and the reading of what it answers."""

from __future__ import annotations

import contextlib
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.facts import LvmConf, Maps, Range
from shoal.kit import shipped
from shoal.kit.errors import ShoalError
from shoal.observe.clock import skew_s
from shoal.observe.dom0 import free_ranges, read_dom0
from shoal.observe.reading import NotUnderstood, parse
from tests.unit.observe.answers import JSON, Place, places, with_value

PROBE = Path(__file__).parents[3] / "dom0" / "probe.py"
MIB = 1 << 20


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    return runpy.run_path(str(PROBE))


def make_disk(path: Path, *arguments: str, size: int = 64 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    if arguments:
        subprocess.run(["sgdisk", *arguments, path], check=True, capture_output=True)
    return path


def test_a_gpt_is_read_as_sgdisk_wrote_it(probe: dict[str, Any], tmp_path: Path) -> None:
    uuid = "8a1fd1c3-2b4e-4f56-9a7b-0c1d2e3f4a5b"
    path = make_disk(
        tmp_path / "disk",
        "--new=1:2048:+8M",
        "--change-name=1:root",
        "--new=3:40M:+4M",
        "--change-name=3:shoal-osd-xen1-1 é",
        f"--partition-guid=3:{uuid}",
    )
    with path.open("rb") as file:
        gpt = probe["read_gpt"](file, 512)
    assert {number: part["name"] for number, part in gpt["parts"].items()} == {1: "root", 3: "shoal-osd-xen1-1 é"}
    assert gpt["parts"][3]["uuid"] == uuid
    taken = [(part["first"] * 512, (part["last"] + 1) * 512) for part in gpt["parts"].values()]
    assert free_ranges((gpt["first"] * 512, (gpt["last"] + 1) * 512), taken) == (
        Range(9 * MIB, 31 * MIB),
        Range(44 * MIB, 19 * MIB),
    )


def test_a_partition_that_the_kernel_was_not_told_of_is_there_all_the_same(
    probe: dict[str, Any], tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "disk.img", "--new=2:8M:+16M", "--change-name=2:shoal-osd-xen1-1")
    with disk.open("rb") as file:
        gpt = probe["read_gpt"](file, 512)
    (found,) = probe["untold"]([], gpt, 512)
    assert (found["number"], found["device"], found["name"]) == (2, "", "shoal-osd-xen1-1")
    assert (found["start_bytes"], found["size_bytes"]) == (8 * MIB, 16 * MIB)
    assert probe["untold"]([{"number": 2}], gpt, 512) == []


@pytest.mark.parametrize("damage", [512, 512 + 40, 1024, 1024 + 60])
def test_a_damaged_gpt_is_no_gpt_and_offers_no_free_space(probe: dict[str, Any], tmp_path: Path, damage: int) -> None:
    path = make_disk(tmp_path / "disk", "--new=1:2048:+8M")
    with path.open("r+b") as file:
        file.seek(damage)
        byte = file.read(1)
        file.seek(damage)
        file.write(bytes([byte[0] ^ 1]))
    with path.open("rb") as file:
        assert probe["read_gpt"](file, 512) is None


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (["mkfs.ext4", "-q"], (None, "ext4")),
        (["mkfs.vfat"], (None, "vfat")),
        (["mkswap"], (None, "swap")),
        (["sgdisk", "--clear"], ("gpt", None)),
    ],
)
def test_what_stands_on_a_disk_is_found(
    probe: dict[str, Any], tmp_path: Path, make: list[str], found: tuple[str | None, str | None]
) -> None:
    path = make_disk(tmp_path / "disk")
    with path.open("rb") as file:
        assert probe["is_blank"](file, 64 * MIB)
    subprocess.run([*make, path], check=True, capture_output=True)
    with path.open("rb") as file:
        assert not probe["is_blank"](file, 64 * MIB)
    table, signature = probe["probe_contents"](str(path))
    assert (table if found[1] is None else None, signature) == found


def test_only_the_end_of_a_disk_is_written(probe: dict[str, Any], tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk")
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"raid")
    with path.open("rb") as file:
        assert not probe["is_blank"](file, 64 * MIB)


def test_the_digest_of_the_kit_is_the_same_here_and_there(probe: dict[str, Any], tmp_path: Path) -> None:
    code = tmp_path / "dom0" / "shoal_dom0"
    code.mkdir(parents=True)
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "a.pyc").write_bytes(b"x")
    (code / "a.py").write_text("1")
    (code / "b.py").write_text("2")
    (tmp_path / "RBDSR").write_text("3")
    files = [
        shipped.ShippedFile(f"{code}/a.py", b"1"),
        shipped.ShippedFile(f"{tmp_path}/RBDSR", b"3", 0o755),
        shipped.ShippedFile(f"{code}/b.py", b"2"),
    ]
    places = [str(tmp_path / "RBDSR"), str(tmp_path / "dom0")]
    assert probe["kit"](places, "/no/unit")["digest"] == shipped.digest(files)
    (code / "b.py").write_text("other")
    assert probe["kit"](places, "/no/unit")["digest"] != shipped.digest(files)
    assert probe["kit"]([str(tmp_path / "nothing")], "/no/unit")["digest"] == shipped.digest([]) == ""


def test_the_last_file_with_a_whitelist_wins(probe: dict[str, Any]) -> None:
    files = {
        "/etc/xapi.conf": "# sm-plugins = none\nsm-plugins=ext nfs lvm\nuse-xenopsd = true",
        "/etc/xapi.conf.d/10-a.conf": "sm-plugins=ext nfs lvm linstor",
        "/etc/xapi.conf.d/99-shoal.conf": "sm-plugins = ext nfs lvm linstor rbd  # by Shoal",
        "/etc/xapi.conf.d/99-z.conf": "log = debug",
    }
    names = probe["sm_plugins"].__globals__
    kept = names["read"], names["entries"]
    names["read"] = lambda path, default=None: files.get(path, default)
    names["entries"] = lambda folder: [path.rpartition("/")[2] for path in files if path.startswith(folder + "/")]
    try:
        assert probe["sm_plugins"]() == ["ext", "nfs", "lvm", "linstor", "rbd"]
    finally:
        names["read"], names["entries"] = kept


def test_lvms_settings_are_told_without_their_comments_and_the_local_ones_as_they_are(
    probe: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "lvm.conf").write_text('# scan = [ "/x" ]\ndevices {\n\t# a comment\n\n\tscan = [ "/dev" ]\n}\n')
    (tmp_path / "lvmlocal.conf").write_text("# mine\n\n")
    assert probe["lvm"]([str(tmp_path)]) == [
        {"folder": str(tmp_path), "main": 'devices {\nscan = [ "/dev" ]\n}', "local": "# mine\n\n"}
    ]


def test_a_damaged_list_of_images_reads_as_none(probe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "maps.json").write_text('{"images": [')
    (tmp_path / "maps.key").touch()
    found = probe["maps"]({"settings": str(tmp_path / "maps.json"), "key": str(tmp_path / "maps.key"), "units": ["x"]})
    assert (found["images"], found["has_key"], found["is_enabled"]) == ([], True, False)


def test_the_whole_probe_runs_and_is_understood() -> None:
    maps = {"settings": "/nowhere/maps.json", "key": "/nowhere/maps.key", "units": ["no-such.service"]}
    request: dict[str, object] = {
        "kit": [],
        "keeper": "/no/unit",
        "passthrough": "/nowhere",
        "tools": ["sh", "no-such-program"],
    }
    request.update(maps=maps, lvm=["/nowhere"])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-", json.dumps(request)], input=PROBE.read_bytes(), capture_output=True
    )
    answer = parse(done.stdout.decode(), "here")
    dom0 = read_dom0({**answer, "errors": {}, "disks": answer.get("disks", [])}, 0.0, 9e9)
    assert dom0.missing_tools == ("no-such-program",)
    assert dom0.lvm == (LvmConf("/nowhere", "", ""),)
    assert dom0.maps == Maps()
    assert dom0.clock_skew_s == 0


def test_the_keeper_runs_when_it_is_enabled_and_has_a_control_group(
    probe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(probe["runs"].__globals__, "CGROUPS", (str(tmp_path / "none"), str(tmp_path / "cgroup")))
    unit = tmp_path / "system" / "shoal-keeper.service"
    assert not probe["runs"](str(unit))
    group = tmp_path / "cgroup" / "system.slice" / unit.name
    group.mkdir(parents=True)
    assert not probe["runs"](str(unit))
    wants = unit.parent / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / unit.name).symlink_to(unit)
    assert probe["runs"](str(unit))
    group.rmdir()
    assert not probe["runs"](str(unit))


GOOD = {
    "kernel": "4.19.0+1",
    "kit": {
        "digest": "d",
        "has_client_certificate": True,
        "client_certificate": "",
        "certificate_authority": "c",
        "volume_service": "a:7443",
        "keeper_runs": True,
    },
    "sm_plugins": ["ext"],
    "has_rbd": True,
    "passthrough_links": {"shoal-osd-xen1-1": "/dev/disk/by-partuuid/8A"},
    "missing_tools": [],
    "clock": [100.0, 101.0],
    "errors": {},
    "lvm": [{"folder": "/etc/lvm", "main": 'scan = "/dev"', "local": "# mine\n"}],
    "maps": {
        "fsid": "f",
        "user": "shoal-xen",
        "monitors": ["10.77.0.21:6789"],
        "images": ["lvm/lvm-a"],
        "has_key": True,
        "is_enabled": False,
        "mapped": {"lvm/lvm-a": "/dev/rbd0"},
    },
    "disks": [
        {
            "device": "/dev/sda",
            "links": ["/dev/disk/by-id/scsi-1"],
            "size_bytes": 100 * MIB,
            "sector_bytes": 512,
            "table": "gpt",
            "contents": None,
            "in_use": None,
            "usable": [34 * 512, 100 * MIB - 33 * 512],
            "taken": [[MIB, 51 * MIB]],
            "partitions": [
                {
                    "number": 1,
                    "device": "/dev/sda1",
                    "start_bytes": MIB,
                    "size_bytes": 50 * MIB,
                    "name": "root",
                    "uuid": "8A",
                    "contents": "ext4",
                    "in_use": "mounted on /",
                }
            ],
        }
    ],
}


def test_an_answer_becomes_facts() -> None:
    dom0 = read_dom0(GOOD, 99.5, 101.5)
    assert dom0.disks[0].free == (Range(51 * MIB, 48 * MIB),)
    assert dom0.disks[0].partitions[0].uuid == "8a"
    assert dom0.clock_skew_s == 0
    assert dom0.kit.volume_service == "a:7443"
    assert dom0.lvm == (LvmConf("/etc/lvm", 'scan = "/dev"', "# mine\n"),)
    mapped = {"lvm/lvm-a": "/dev/rbd0"}
    assert dom0.maps == Maps("f", "shoal-xen", ("10.77.0.21:6789",), ("lvm/lvm-a",), True, False, mapped)


def test_a_part_that_could_not_be_read_is_an_error_and_not_nothing() -> None:
    with pytest.raises(NotUnderstood) as raised:
        read_dom0({**GOOD, "disks": [], "errors": {"disks": "PermissionError: /dev/sda"}}, 0, 0)
    assert "PermissionError" in raised.value.details


@pytest.mark.parametrize(
    ("began", "ended", "skew"),
    [(100, 101, 0), (99, 101.5, 0), (90, 91, -9), (103.5, 104, 2.5), (98, 98.5, -1), (130, 131, 29.5)],
)
def test_only_a_proven_difference_of_clocks_counts(began: float, ended: float, skew: float) -> None:
    assert skew_s(99, 101.5, [began, ended]) == pytest.approx(skew)


@given(
    st.integers(0, 10 * MIB),
    st.integers(0, 400 * MIB),
    st.lists(st.tuples(st.integers(0, 400 * MIB), st.integers(0, 60 * MIB)), max_size=6),
)
def test_free_space_is_aligned_inside_and_never_overlaps(
    start: int, end: int, stretches: list[tuple[int, int]]
) -> None:
    taken = [(begin, begin + size) for begin, size in stretches]
    for free in free_ranges((start, end), taken):
        stop = free.start_bytes + free.size_bytes
        assert free.start_bytes % MIB == 0
        assert free.size_bytes % MIB == 0
        assert start <= free.start_bytes < stop <= end
        assert all(stop <= begin or finish <= free.start_bytes or begin == finish for begin, finish in taken)


@settings(max_examples=400)
@given(st.sampled_from(list(places(GOOD))), JSON)
def test_any_wrong_value_is_told_and_never_a_bug(at: Place, wrong: object) -> None:
    with contextlib.suppress(ShoalError):
        read_dom0(with_value(GOOD, at, wrong), 0.0, 1.0)


@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")) | JSON.map(json.dumps))
def test_any_text_is_parsed_or_told(text: str) -> None:
    with contextlib.suppress(ShoalError):
        read_dom0(parse(text, "dom0"), 0.0, 1.0)
