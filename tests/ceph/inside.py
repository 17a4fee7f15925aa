"""Runs inside the little Ceph: does to images what a host or a person would, and says what is in a pool.

One JSON object a line on standard input, {"do": name, …}, and one answer a line. It knows nothing of the volume
service.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rados
import rbd

BLOCK_BYTES = 64 * 1024


class Inside:
    def __init__(self) -> None:
        self.cluster = rados.Rados(
            rados_id="admin", conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"}
        )
        self.cluster.connect()
        self.held: dict[str, Any] = {}
        self.owned: dict[str, str] = {}
        self.enough = threading.Event()
        self.counted = 0

    def pool(self, request: dict[str, Any]) -> Any:
        ioctx = self.cluster.open_ioctx(request.get("pool", "rbd"))
        ioctx.set_namespace(request.get("namespace", ""))
        return ioctx

    @contextmanager
    def image(self, request: dict[str, Any], *, read_only: bool) -> Iterator[Any]:
        with self.pool(request) as ioctx:
            arguments = {"image_id": request["id"]} if "id" in request else {"name": request["image"]}
            with rbd.Image(ioctx, snapshot=request.get("snap"), read_only=read_only, **arguments) as image:
                yield image

    def write(self, request: dict[str, Any]) -> None:
        """Fill whole blocks with a letter: {"3": "a"} is the fourth block."""
        with self.image(request, read_only=False) as image:
            for block, letter in request["blocks"].items():
                image.write(letter.encode() * BLOCK_BYTES, int(block) * BLOCK_BYTES)

    def fill(self, request: dict[str, Any]) -> None:
        """So many bytes of a letter."""
        with self.image(request, read_only=False) as image:
            image.write(request["letter"].encode() * request["length"], request["offset"])
            image.flush()

    def letter(self, request: dict[str, Any]) -> str:
        """The one that stands there; a NUL if nothing was written."""
        with self.image(request, read_only=True) as image:
            return str(image.read(request["offset"], 1).decode())

    def command(self, request: dict[str, Any]) -> Any:
        """What a monitor answers; the `ceph` program takes half a second of processor time to ask it."""
        asked = json.dumps({**request["arguments"], "format": "json"})
        code, output, status = self.cluster.mon_command(asked, b"")
        if code:
            raise OSError(code, status)
        return json.JSONDecoder().raw_decode(output.decode())[0] if output.strip() else None

    def discard(self, request: dict[str, Any]) -> None:
        with self.image(request, read_only=False) as image:
            image.discard(request["block"] * BLOCK_BYTES, request.get("blocks", 1) * BLOCK_BYTES)

    def read(self, request: dict[str, Any]) -> dict[str, str]:
        """The letter of each of the blocks; "" where it holds zeros, "?" where it is not of one letter."""
        with self.image(request, read_only=True) as image:
            found = {}
            for block in request["blocks"]:
                data = image.read(block * BLOCK_BYTES, BLOCK_BYTES)
                letter = data[:1]
                whole = data == letter * BLOCK_BYTES
                found[str(block)] = "?" if not whole else letter.decode() if letter != b"\0" else ""
            return found

    def size(self, request: dict[str, Any]) -> int:
        with self.image(request, read_only=True) as image:
            return int(image.size())

    def hold(self, request: dict[str, Any]) -> None:
        """Open an image and keep its exclusive lock, as the host of a running VM does."""
        image = rbd.Image(self.pool(request), request["image"])
        image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
        self.held[request["image"]] = image

    def held_size(self, request: dict[str, Any]) -> int:
        return int(self.held[request["image"]].size())

    def write_held(self, request: dict[str, Any]) -> None:
        for block, letter in request["blocks"].items():
            self.held[request["image"]].write(letter.encode() * BLOCK_BYTES, int(block) * BLOCK_BYTES)

    def let_go(self, request: dict[str, Any]) -> None:
        self.held.pop(request["image"]).close()

    def own(self, request: dict[str, Any]) -> None:
        """Own an image's exclusive lock without watching the image, as a host that Ceph has not heard for a while."""
        with self.image(request, read_only=True) as image, self.pool(request) as ioctx:
            lock = packed("rbd_lock") + b"\1" + packed("auto 4711") + packed("internal") + packed("") + bytes(9)
            ioctx.execute(f"rbd_header.{image.id()}", "lock", "lock", struct.pack("<BBI", 1, 1, len(lock)) + lock)
            self.owned[request["image"]] = f"{image.stat()['block_name_prefix']}.{0:016x}"

    def write_late(self, request: dict[str, Any]) -> None:
        """The first block, by what such a host knew of the image."""
        with self.pool(request) as ioctx:
            ioctx.write(self.owned[request["image"]], request["letter"].encode() * BLOCK_BYTES)

    def count_up(self, request: dict[str, Any]) -> None:
        """Hold the image and write a counter over and over to `slots` data objects in turn, until `stop_counting`."""
        image = rbd.Image(self.pool(request), request["image"])
        image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)

        def write() -> None:
            while not self.enough.is_set():
                self.counted += 1
                image.write(self.counted.to_bytes(8, "big"), (self.counted % request["slots"]) * (4 << 20))
            image.close()

        self.counted = 0
        self.counting = threading.Thread(target=write)
        self.counting.start()

    def stop_counting(self, request: dict[str, Any]) -> int:
        """How far it came."""
        self.enough.set()
        self.counting.join()
        return self.counted

    def counters(self, request: dict[str, Any]) -> list[int]:
        with self.image(request, read_only=True) as image:
            return [int.from_bytes(image.read(slot * (4 << 20), 8), "big") for slot in range(request["slots"])]

    def content(self, request: dict[str, Any]) -> dict[str, Any]:
        """All that a pool holds: images by name with their snapshots, trash, and every object's name."""
        with self.pool(request) as ioctx:
            images: dict[str, list[str] | None] = {}
            for entry in rbd.RBD().list2(ioctx):
                try:
                    with rbd.Image(ioctx, image_id=entry["id"], read_only=True) as image:
                        images[entry["name"]] = sorted(snap["name"] for snap in image.list_snaps())
                except rbd.ImageNotFound:
                    images[entry["name"]] = None
            return {
                "images": images,
                "trash": sorted(entry["name"] for entry in rbd.RBD().trash_list(ioctx)),
                "objects": sorted(each.key for each in ioctx.list_objects()),
            }

    def flatten(self, request: dict[str, Any]) -> None:
        with self.image(request, read_only=False) as image:
            image.flatten()

    def parent(self, request: dict[str, Any]) -> Any:
        with self.image(request, read_only=True) as image:
            try:
                return image.get_parent_image_spec()["image_name"]
            except rbd.ImageNotFound:
                return None

    def put_object(self, request: dict[str, Any]) -> None:
        with self.pool(request) as ioctx:
            ioctx.write_full(request["object"], request["text"].encode())

    def get_object(self, request: dict[str, Any]) -> str:
        with self.pool(request) as ioctx:
            return str(ioctx.read(request["object"]).decode())

    def remove_object(self, request: dict[str, Any]) -> None:
        with self.pool(request) as ioctx:
            ioctx.remove_object(request["object"])


def packed(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def main() -> None:
    inside = Inside()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        work: Callable[[dict[str, Any]], Any] = getattr(inside, request["do"])
        try:
            answer = {"answer": work(request)}
        except (OSError, rados.Error, rbd.Error, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
