"""Disk images in parts and out whole, against a real HTTPS server on loopback."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from shoal.clients.https import ConnectionBroken, HttpsPool
from shoal.clients.pins import Pins
from shoal.clients.raw_export import receive_image
from shoal.clients.raw_import import Part, data_ranges, parts, send_image
from shoal.kit.errors import ShoalError
from tests.unit.clients.toolstack_server import SESSION, Toolstack, certificate

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def toolstack(tmp_path: Path) -> Iterator[Toolstack]:
    path, _ = certificate(tmp_path)
    made = Toolstack(path)
    yield made
    made.close()


@pytest.fixture
def https(toolstack: Toolstack, tmp_path: Path) -> Iterator[HttpsPool]:
    made = HttpsPool("127.0.0.1", toolstack.port, pins=Pins(tmp_path / "pins.json"))
    yield made
    made.close()


def sparse(path: Path, size: int, *stretches: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in stretches:
            file.seek(offset)
            file.write(data)
    return path


def data_in(part: Part, path: Path) -> int:
    with path.open("rb") as file:
        ranges = list(data_ranges(file))
    return sum(max(0, min(start + length, part.end) - max(start, part.start)) for start, length in ranges)


@pytest.mark.parametrize("seed", range(20))
def test_parts_leave_nothing_out_and_hold_so_much_each(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    size = draw.randint(1, 4 * MIB)
    places = [draw.randrange(size) for _ in range(draw.randint(0, 5))]
    source = sparse(tmp_path / "f", size, *((place, b"x" * min(200 * KIB, size - place)) for place in places))
    found = list(parts(source, 0, 64 * KIB))
    assert [part.start for part in found] == [0, *(part.end for part in found[:-1])]
    assert found[-1].end == size
    assert all(data_in(part, source) == 64 * KIB for part in found[:-1])
    assert data_in(found[-1], source) <= 64 * KIB
    middle = found[len(found) // 2].end
    assert list(parts(source, middle, 64 * KIB)) == found[len(found) // 2 + 1 :]  # as if cut off there


async def test_parts_make_the_same_disk_as_the_whole(toolstack: Toolstack, https: HttpsPool, tmp_path: Path) -> None:
    size = 3 * MIB + 100  # a disk ends with a whole sector, a file need not
    source = sparse(tmp_path / "f", size, (5, os.urandom(MIB)), (2 * MIB, b"middle"), (size - 3, b"end"))
    path = f"/import_raw_vdi?session_id={SESSION}&vdi=v&chunked=true"
    for part in parts(source, 0, 300 * KIB):
        await https.in_thread(partial(send_image, https, path, source, lambda *_: None, part))
    got = toolstack.images["v"]
    assert bytes(got["data"][:size]) == source.read_bytes()
    assert got["received"] < 2 * MIB
    assert got["received"] % 512 == 0


async def test_an_export_keeps_the_holes(toolstack: Toolstack, https: HttpsPool, tmp_path: Path) -> None:
    toolstack.disk = b"start" + bytes(6 * MIB) + os.urandom(MIB) + bytes(MIB)
    size, seen = len(toolstack.disk), list[tuple[int, int]]()
    await https.in_thread(lambda: receive_image(https, "/", tmp_path / "out", size, lambda *sent: seen.append(sent)))
    assert (tmp_path / "out").read_bytes() == toolstack.disk
    assert (tmp_path / "out").stat().st_blocks * 512 < 2 * MIB
    assert seen[-1] == (size, size)


async def test_an_export_is_its_owners_alone_and_follows_no_link(
    toolstack: Toolstack, https: HttpsPool, tmp_path: Path
) -> None:
    toolstack.disk = b"secrets of a VM"
    other, target = tmp_path / "other", tmp_path / "out.raw.part"
    other.write_text("somebody's")
    target.symlink_to(other)
    modes = set[int]()
    before = os.umask(0)
    try:
        note = lambda *_: modes.add(target.lstat().st_mode)  # noqa: E731
        await https.in_thread(lambda: receive_image(https, "/", target, 15, note))
    finally:
        os.umask(before)
    assert modes == {stat.S_IFREG | 0o600}
    assert (target.read_bytes(), other.read_text()) == (b"secrets of a VM", "somebody's")


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (bytes(MIB - 1), 200, "it ended after 1048575 of 1048576 bytes"),
        (bytes(MIB + 1), 200, "more than the disk's 1048576 bytes"),
        (b"", 200, "it ended after 0 of"),
        (bytes(MIB), 500, "HTTP 500"),
    ],
)
async def test_an_export_that_is_not_whole_is_said(
    toolstack: Toolstack, https: HttpsPool, tmp_path: Path, sent: bytes, status: int, said: str
) -> None:
    toolstack.disk, toolstack.export_status = sent, status
    with pytest.raises(ConnectionBroken, match=said):
        await https.in_thread(lambda: receive_image(https, "/", tmp_path / "out", MIB, lambda *_: None))


async def test_a_file_that_cannot_be_written_is_said(https: HttpsPool, tmp_path: Path) -> None:
    with pytest.raises(ShoalError, match=r"cannot write .*nowhere/out: No such file"):
        await https.in_thread(lambda: receive_image(https, "/", tmp_path / "nowhere/out", MIB, lambda *_: None))
