"""Speaks to `inside.py`: what a host or a person does in the little Ceph, and what is in a pool."""

from __future__ import annotations

import json
from typing import Any

from tests.ceph.cluster import Cluster

PROGRAM = "/repository/tests/ceph/inside.py"


class Refused(Exception):
    """What was asked for failed inside."""


class Dialog:
    def __init__(self, cluster: Cluster, pool: str = "rbd", namespace: str = "") -> None:
        self._where = {"pool": pool, "namespace": namespace}
        self._process = cluster.start_dialog("python3", "-B", PROGRAM)
        assert self.line() == "ready"

    def do(self, name: str, **arguments: Any) -> Any:
        self.say(name, **arguments)
        answer = self.line()
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]

    def say(self, name: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **self._where, **arguments}) + "\n")
        self._process.stdin.flush()

    def line(self) -> Any:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise Refused("the process inside has ended")
        return json.loads(text)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
