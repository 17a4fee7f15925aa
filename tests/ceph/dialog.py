"""Speaks to a program of this folder that runs inside the little Ceph: JSON, one line each way."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.ceph.cluster import Cluster

FOLDER = "/repository/tests/ceph"


class Refused(Exception):
    """What was asked for failed inside."""


class Dialog:
    def __init__(self, cluster: Cluster, program: str, *argv: str) -> None:
        self._cluster = cluster
        self._process = cluster.start_dialog("python3", "-B", f"{FOLDER}/{program}", *argv)
        assert self.line() == "ready"

    def say(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def line(self) -> Any:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise Refused("the process inside has ended")
        return json.loads(text)

    def answer(self) -> Any:
        said = self.line()
        if "error" in said:
            raise Refused(said["error"])
        return said["answer"]

    def kill(self) -> None:
        """At once, as when the host's power goes: what it has open in Ceph stays so until Ceph notices."""
        if self._process.poll() is None:
            self._cluster.kill_process(self._process)

    def stand_still(self) -> None:
        os.kill(self._cluster.pid_of(self._process), signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._cluster.pid_of(self._process), signal.SIGCONT)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


class Inside(Dialog):
    """What a host or a person does in the little Ceph, and what is in a pool: see `inside.py`."""

    def __init__(self, cluster: Cluster, pool: str = "rbd", namespace: str = "") -> None:
        self._where = {"pool": pool, "namespace": namespace}
        super().__init__(cluster, "inside.py")

    def begin(self, name: str, **arguments: Any) -> None:
        self.say({"do": name, **self._where, **arguments})

    def do(self, name: str, **arguments: Any) -> Any:
        self.begin(name, **arguments)
        return self.answer()
