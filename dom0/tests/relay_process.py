"""The relay as a process of its own, for the driver of a host of the tests, and a caller that is no driver."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from dom0.tests.host import PYTHON

LAUNCH = Path(__file__).with_name("launch_relay.py")
START_TIMEOUT_S = 20.0


class RelayProcess:
    """Has certificates of its own, `files`: a driver without any can do nothing but ask it."""

    def __init__(self, folder: Path, client_files: Path) -> None:
        self.path = folder / "relay"
        self.files = folder / "relay-volumes"
        shutil.copytree(client_files, self.files)
        argv = [PYTHON, "-ISB", str(LAUNCH), str(folder)]
        self._log = (folder / "relay.log").open("w")
        self.process = subprocess.Popen(argv, stdout=self._log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        return Path(self._log.name).read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def status(self, name: str) -> int:
        """A number from the process's status, as VmHWM in KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    def cpu_s(self) -> float:
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / 100

    def connect(self, *, timeout_s: float = 10.0) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(timeout_s)
        caller.connect(str(self.path))
        return caller

    def _listens(self) -> bool:
        try:
            with self.connect() as caller:
                return caller.recv(1) == b"."
        except OSError:
            return False


def request(endpoint: str, target: str = "/v1/pools/rbd", *, body: bytes = b"", **changes: Any) -> bytes:
    """As the driver sends it."""
    head = {"endpoint": endpoint, "method": "GET", "target": target, "until": time.monotonic() + 5, "length": len(body)}
    return json.dumps({**head, **changes}).encode() + b"\n" + body


def answer(caller: socket.socket) -> tuple[dict[str, Any], bytes, int]:
    """Head and body of what the relay says at last, and how many signs of life came before it."""
    said = b""
    while part := caller.recv(1 << 16):
        said += part
    rest = said.lstrip(b".")
    head, _, body = rest.partition(b"\n")
    return json.loads(head), body, len(said) - len(rest)
