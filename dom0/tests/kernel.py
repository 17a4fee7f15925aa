"""What /sys/bus/rbd looks like to the driver, on a machine whose kernel has no rbd.

The kernel's own client is tested in the lab; here it is about what the driver makes of what it sees. A write to an
attribute arrives at a socket (see `launch`), and is answered with an error number.
"""

from __future__ import annotations

import contextlib
import errno
import socketserver
import threading
import time
from pathlib import Path


class Kernel:
    """`lines` are the map requests. `refusal` is the error number of the next ones, `busy` how often unmap is refused;
    `not_yet` are the error numbers of the next unmaps of a device that it is still adding or removing.

    `image_ids` are those of images, by name; without one, the kernel shows none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.refusal = 0
        self.busy = 0
        self.not_yet: list[int] = []
        self.image_ids: dict[str, str] = {}
        self.hangs_s = 0.0
        for name in ("bus/devices", "block", "dev"):
            (folder / name).mkdir(parents=True)
        for verb in ("add", "add_single_major", "remove_single_major"):
            (folder / "bus" / verb).touch()
        kernel = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                attribute, _, line = self.rfile.read().decode().partition("\n")
                self.wfile.write(b"%d" % kernel.write(attribute, line))

        self._server = socketserver.ThreadingUnixStreamServer(str(folder / "kernel"), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write(self, attribute: str, line: str) -> int:
        time.sleep(self.hangs_s)
        return self._add(line) if attribute == "add_single_major" else self._remove(line)

    def add_map(
        self,
        image: str,
        client: str,
        *,
        read_only: bool = False,
        pool: str = "rbd",
        snap: str = "-",
        image_id: str = "",
    ) -> None:
        number = str(len(list((self.folder / "block").iterdir())))
        values = {"pool": pool, "pool_ns": "", "name": image, "current_snap": snap, "client_id": client}
        if image_id or image in self.image_ids:
            values["image_id"] = image_id or self.image_ids[image]
        block = self.folder / "block" / f"rbd{number}"
        block.mkdir()
        (block / "ro").write_text(f"{int(read_only)}\n")
        (self.folder / "dev" / f"rbd{number}").touch()
        device = self.folder / "bus/devices" / number
        device.mkdir()
        for name, value in values.items():
            (device / name).write_text(value + "\n")

    def maps(self) -> list[str]:
        return sorted((folder / "name").read_text().strip() for folder in (self.folder / "bus/devices").iterdir())

    def _add(self, line: str) -> int:
        self.lines.append(line)
        if self.refusal:
            return self.refusal
        _, options, pool, image, snap = line.split(" ")
        read_only = "ro" in options.split(",") or snap != "-"
        self.add_map(image, "client4100", read_only=read_only, pool=pool, snap=snap)
        return 0

    def _remove(self, line: str) -> int:
        folder = self.folder / "bus/devices" / line.strip()
        if not folder.exists():
            return errno.ENOENT
        if self.not_yet:
            return self.not_yet.pop(0)
        if self.busy:
            self.busy -= 1
            return errno.EBUSY
        if self._is_open(self.folder / "dev" / f"rbd{line.strip()}"):
            return errno.EBUSY
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        return 0

    def _is_open(self, device: Path) -> bool:
        """By a tapdisk, if the test has given this host one: nothing else opens devices here."""
        for control in self.folder.glob("tap/run/ctl*"):
            for descriptor in Path(f"/proc/{control.name[3:]}/fd").glob("*"):
                with contextlib.suppress(OSError):  # it has ended, or closed it
                    if descriptor.readlink() == device:
                        return True
        return False
