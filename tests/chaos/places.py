"""Watches where the pool says that VMs run, while a fault lasts. Bounded: a host that hangs is asked no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from lab import witness_vm
from lab.command import CommandError
from lab.topology import Lab
from tests.chaos.figures import Place

POLL_S = 1.0
CALL_TIMEOUT_S = 5.0


class PlaceWatch:
    """`with PlaceWatch(lab, {"vm": ref}, shunned="xen2") as watch: … watch.seen()`"""

    def __init__(self, lab: Lab, vms: Mapping[str, str], *, shunned: str = "") -> None:
        self._lab, self._vms, self._shunned = lab, vms, shunned
        self._seen: list[Place] = []
        self._last: dict[str, str] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="places", daemon=True)

    def __enter__(self) -> PlaceWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(timeout=60)

    def seen(self) -> list[Place]:
        return list(self._seen)

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                session = witness_vm.log_in(self._lab, shunned=self._shunned, timeout_s=CALL_TIMEOUT_S)
                names = {ref: host["name_label"] for ref, host in session.call("host.get_all_records").items()}
                while not self._ends.wait(POLL_S):
                    self._look(session, names)
            except (CommandError, *witness_vm.TROUBLE):
                self._ends.wait(POLL_S)  # no master, or it restarts: by another host

    def _look(self, session: witness_vm.Session, names: Mapping[str, str]) -> None:
        for vm, ref in self._vms.items():
            record = session.call("VM.get_record", ref)
            host = names.get(record["resident_on"], "") if record["power_state"] == "Running" else ""
            if self._last.get(vm) != host:
                self._last[vm] = host
                self._seen.append(Place(time.monotonic(), vm, host))
