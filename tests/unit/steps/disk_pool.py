"""Two SRs, a halted VM and its disk behind a real HTTPS server; any changing call can fail, before or after."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from tests.unit.clients.toolstack_server import Failure, Toolstack

NULL = "OpaqueRef:NULL"


class DiskPool:
    """`contents`: what is on each disk, by ref. `crash_at`: which change fails; `done_first`: after it was made."""

    def __init__(self, toolstack: Toolstack) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in ("SR", "VDI", "VBD", "VM", "task")}
        self.contents: dict[str, str] = {}
        self.changes, self.crash_at, self.done_first = 0, -1, False
        self.at_copy: Any = None
        self._numbers = itertools.count(1)
        self._toolstack = toolstack
        self.local, self.shared = self._add("SR", uuid="sr-local"), self._add("SR", uuid="sr-shared")
        self.vm = self._add("VM", uuid="vm-1", name_label="web", power_state="Halted", is_control_domain=False)
        self.disk = self.vdi_create({**VDI, "SR": self.local})
        self.tables["VDI"][self.disk]["uuid"] = "the-disk"
        self.contents[self.disk] = "written by the VM"
        self.vbd_create({**VBD, "VM": self.vm, "VDI": self.disk})
        self.changes = 0
        self._serve(toolstack)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return list(self.tables[kind].values())

    def disks(self, sr: str) -> list[str]:
        return [ref for ref, row in self.tables["VDI"].items() if row["SR"] == sr]

    def record(self, kind: str, ref: str) -> dict[str, Any]:
        if ref not in self.tables[kind]:
            raise Failure("HANDLE_INVALID", kind, ref)
        row = dict(self.tables[kind][ref])
        if kind == "SR":
            row["VDIs"] = self.disks(ref)
        if kind == "VDI":
            row["VBDs"] = [vbd for vbd, other in self.tables["VBD"].items() if other["VDI"] == ref]
        return row

    def by_uuid(self, kind: str, uuid: str) -> str:
        for ref, row in self.tables[kind].items():
            if row["uuid"] == uuid:
                return ref
        raise Failure("UUID_INVALID", kind, uuid)

    def vdi_create(self, record: dict[str, Any]) -> str:
        ref = self._add("VDI", **record)
        self.contents[ref] = ""
        return ref

    def vdi_copy(self, vdi: str, sr: str, base: str, into: str) -> str:
        assert base == NULL and self.tables["VDI"][into]["SR"] == sr
        assert not self.contents[into], "zeros of the source would not be written over what is there"
        self.contents[into] = self.contents[vdi]
        if self.at_copy:
            self.at_copy()
        return into

    def vdi_destroy(self, vdi: str) -> str:
        assert not self.record("VDI", vdi)["VBDs"], "a disk that a VM has was destroyed"
        del self.tables["VDI"][vdi], self.contents[vdi]
        return ""

    def vbd_create(self, record: dict[str, Any]) -> str:
        if any(row["userdevice"] == record["userdevice"] for row in self.rows("VBD")):
            raise Failure("DEVICE_ALREADY_EXISTS", record["userdevice"])
        return self._add("VBD", **record)

    def _add(self, kind: str, **row: Any) -> str:
        number = next(self._numbers)
        self.tables[kind][f"OpaqueRef:{number}"] = {"uuid": f"{kind}-{number}".lower(), **row}
        return f"OpaqueRef:{number}"

    def _serve(self, toolstack: Toolstack) -> None:
        for kind in self.tables:
            toolstack.calls[f"{kind}.get_record"] = lambda ref, kind=kind: self.record(kind, ref)
            toolstack.calls[f"{kind}.get_by_uuid"] = lambda uuid, kind=kind: self.by_uuid(kind, uuid)
        changing = {
            "Async.VDI.create": self._task(self.vdi_create),
            "Async.VDI.copy": self._task(self.vdi_copy),
            "Async.VDI.destroy": self._task(self.vdi_destroy),
            "VBD.create": self.vbd_create,
            "VBD.destroy": lambda ref: self.tables["VBD"].pop(ref) and "",
            "VDI.set_name_label": lambda ref, name: self.tables["VDI"][ref].update(name_label=name) or "",
            "VDI.add_to_other_config": self._add_mark,
            "VDI.remove_from_other_config": lambda ref, key: self.tables["VDI"][ref]["other_config"].pop(key, ""),
        }
        toolstack.calls |= {name: self._crashing(call) for name, call in changing.items()}
        toolstack.calls |= {"task.destroy": "", "task.cancel": "", "session.logout": ""}

    def _add_mark(self, ref: str, key: str, value: str) -> str:
        config = self.tables["VDI"][ref]["other_config"]
        if key in config:
            raise Failure("MAP_DUPLICATE_KEY", key)
        config[key] = value
        return ""

    def _task(self, call: Any) -> Any:
        return lambda *params: self._add("task", status="success", result=call(*params), error_info=[])

    def _crashing(self, call: Any) -> Any:
        def called(*params: Any) -> Any:
            self.changes += 1
            if self.changes == self.crash_at and not self.done_first:
                raise Failure("POWER_IS_GONE")
            answer = call(*params)
            if self.changes == self.crash_at:
                raise Failure("POWER_IS_GONE")
            return answer

        return called


VDI: dict[str, Any] = {
    "name_label": "web",
    "name_description": "its disk",
    "type": "user",
    "sharable": False,
    "read_only": False,
    "xenstore_data": {},
    "tags": ["blue"],
    "virtual_size": "4194304",
    "other_config": {"owner": "somebody", "shoal:import": "{}"},
}
VBD: dict[str, Any] = {
    "userdevice": "3",
    "bootable": True,
    "mode": "RO",
    "type": "Disk",
    "unpluggable": False,
    "empty": False,
    "other_config": {"backend-kind": "vbd"},
    "qos_algorithm_type": "ionice",
    "qos_algorithm_params": {"class": "5"},
}


def connections(xenapi: Any) -> Any:
    return SimpleNamespace(xenapi=xenapi)
