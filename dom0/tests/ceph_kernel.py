"""A kernel whose maps are real clients of the little Ceph, and the talk with the agent inside that opens them."""

from __future__ import annotations

import errno
import itertools
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

from dom0.tests.kernel import Kernel
from tests.ceph.cluster import Cluster

AGENT = "/repository/dom0/tests/ceph_agent.py"
TOKENS = itertools.count()
ADDRESS = re.compile(r"[0-9.]+:[0-9]+/[0-9]+")


class Agent:
    """One process inside the little Ceph. When it is killed, all that it had mapped is held by nobody alive."""

    def __init__(self, cluster: Cluster) -> None:
        self._lock = threading.Lock()
        self.fsid = cluster.fsid
        argv = [*cluster._inside(), "python3", "-B", AGENT]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with (cluster.files / "agent.log").open("ab") as log:  # librados tells of every lock that it does not get
            self._process = subprocess.Popen(argv, text=True, stderr=log, **pipes)

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, f"the agent inside Ceph ended at {do} {values}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def dump(self, pool: str = "rbd", namespace: str = "") -> dict[str, Any]:
        return self.ask("dump", pool=pool, namespace=namespace)

    def stop(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def kill(self, cluster: Cluster) -> None:
        cluster.kill_process(self._process)


class CephKernel(Kernel):
    """`agent` is this host's; `tokens` its maps by number, `addresses` their clients'."""

    def __init__(self, folder: Path, agent: Agent) -> None:
        self.agent = agent
        self.tokens: dict[str, str] = {}
        self.addresses: dict[str, list[str]] = {}
        self._changing = threading.Lock()
        super().__init__(folder)

    def _add(self, line: str) -> int:
        with self._changing:
            self.lines.append(line)
            _, text, pool, image, snap = line.split(" ")
            options = dict(word.partition("=")[::2] for word in text.split(","))
            namespace, token = options.get("_pool_ns", ""), f"map-{next(TOKENS)}"
            writable = "exclusive" in options
            where = {"pool": pool, "namespace": namespace, "image": image, "snap": None if snap == "-" else snap}
            answer = self.agent.ask("map", token=token, exclusive=writable, **where)
            if "error" in answer:
                return int(answer["error"])
            before = set(self._numbers())
            found = {"pool": pool, "snap": snap, "image_id": answer["image_id"]}
            self.add_map(image, answer["client"], read_only=not writable, **found)
            (number,) = set(self._numbers()) - before
            (self.folder / "bus/devices" / number / "pool_ns").write_text(namespace + "\n")
            (self.folder / "bus/devices" / number / "cluster_fsid").write_text(self.agent.fsid + "\n")
            self.tokens[number] = token
            self.addresses[number] = ADDRESS.findall(answer["address"])
            return 0

    def _remove(self, line: str) -> int:
        with self._changing:
            code = super()._remove(line)
            token = self.tokens.pop(line.strip(), None) if code == 0 else None
            self.addresses.pop(line.strip(), None)
            if token is not None:
                self.agent.ask("unmap", token=token)
            return code

    def crash(self) -> list[str]:
        """What a reboot leaves: nothing. The answer is the addresses of the maps' clients, which say nothing any more."""
        dead = sorted({address for addresses in self.addresses.values() for address in addresses})
        for number in self._numbers():
            assert super()._remove(number) in (0, errno.ENOENT)
        self.tokens.clear()
        self.addresses.clear()
        return dead

    def mapped(self) -> list[tuple[str, str, bool]]:
        """(image, snapshot or "-", writable) of every map."""
        found = []
        for number in self._numbers():
            device = self.folder / "bus/devices" / number
            read_only = (self.folder / "block" / f"rbd{number}" / "ro").read_text().strip() == "1"
            found.append(
                ((device / "name").read_text().strip(), (device / "current_snap").read_text().strip(), not read_only)
            )
        return sorted(found)

    def token(self, name: str) -> str:
        """The agent's name of this host's map of an image, or of a snapshot, by that one's name."""
        for number, token in self.tokens.items():
            device = self.folder / "bus/devices" / number
            image, snap = ((device / file).read_text().strip() for file in ("name", "current_snap"))
            if name == (image if snap == "-" else snap):
                return token
        raise KeyError(name)

    def _numbers(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "bus/devices").iterdir())
