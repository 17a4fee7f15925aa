"""The XenAPI calls that the driver makes, answered on a unix socket from a few dicts. It checks what it is asked."""

from __future__ import annotations

import json
import socketserver
import threading
import uuid
from collections import defaultdict
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

SESSION = "OpaqueRef:session"
FIELDS = (
    "uuid name_label name_description SR type sharable read_only other_config location xenstore_data sm_config managed"
    " virtual_size physical_utilisation metadata_of_pool is_a_snapshot snapshot_time snapshot_of cbt_enabled"
).split()


class Failure(Exception):
    pass


class Records(dict[str, dict[str, Any]]):
    """Of VDIs, by reference. One is found by uuid or location at once, as in xapi's database: neither ever changes."""

    FOUND_BY = ("uuid", "location")

    def __init__(self) -> None:
        super().__init__()
        self._refs: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # the first is the oldest

    def find(self, field: str, value: str) -> str | None:
        return next(iter(self._refs.get((field, value), ())), None)

    def __setitem__(self, ref: str, record: dict[str, Any]) -> None:
        if ref in self:
            del self[ref]
        super().__setitem__(ref, record)
        for field in self.FOUND_BY:
            self._refs[field, record[field]][ref] = None

    def __delitem__(self, ref: str) -> None:
        for field in self.FOUND_BY:
            del self._refs[field, self[ref][field]][ref]
        super().__delitem__(ref)

    def clear(self) -> None:
        super().clear()
        self._refs.clear()


class Toolstack:
    """`vdis` are the records by reference; `failing` names calls that shall fail, `calls` those that were made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.vdis = Records()
        self.sr = {"virtual_allocation": "0", "physical_size": "0", "physical_utilisation": "0"}
        self.vbds: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, str] = {}
        self.failing: set[str] = set()
        self.calls: list[str] = []
        self._server = socketserver.ThreadingUnixStreamServer(str(path), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ref(self, vdi: str) -> str:
        ref = self.vdis.find("uuid", vdi)
        if ref is None:
            raise Failure("UUID_INVALID", "VDI", vdi)
        return ref

    def answer(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        if method in self.failing:
            raise Failure("INTERNAL_ERROR", "by the test's wish")
        if params[:1] != [SESSION]:
            raise Failure("SESSION_INVALID", str(params[:1]))
        handler = getattr(self, "call_" + method.replace(".", "_"), None)
        if handler is None:
            raise Failure("MESSAGE_METHOD_UNKNOWN", method)
        return handler(*params[1:])

    def call_secret_get_by_uuid(self, secret: str) -> str:
        if secret not in self.secrets:
            raise Failure("UUID_INVALID", "secret", secret)
        return "OpaqueRef:" + secret

    def call_secret_get_value(self, ref: str) -> str:
        return self.secrets[ref.removeprefix("OpaqueRef:")]

    def call_VDI_get_all_records_where(self, expression: str) -> dict[str, Any]:
        return {ref: record for ref, record in self.vdis.items() if expression == f'field "SR" = "{record["SR"]}"'}

    def call_VDI_db_introduce(self, *values: Any) -> str:
        record = dict(zip(FIELDS, values, strict=True))
        if self.vdis.find("uuid", record["uuid"]):
            raise Failure("DB_UNIQUENESS_CONSTRAINT_VIOLATION", "VDI", "uuid", record["uuid"])
        if self.vdis.find("location", record["location"]):
            raise Failure("LOCATION_NOT_UNIQUE", record["SR"], record["location"])
        assert isinstance(record["virtual_size"], str) and isinstance(record["managed"], bool)
        ref = f"OpaqueRef:{uuid.uuid4()}"
        self.vdis[ref] = record
        return ref

    def call_VDI_get_by_uuid(self, vdi: str) -> str:
        return self.ref(vdi)

    def call_VDI_db_forget(self, ref: str) -> None:
        self._vdi(ref)
        del self.vdis[ref]

    def call_VDI_set_virtual_size(self, ref: str, size: str) -> None:
        self._vdi(ref)["virtual_size"] = size

    def call_VDI_get_virtual_size(self, ref: str) -> int:
        return int(self._vdi(ref)["virtual_size"])

    def call_VDI_get_record(self, ref: str) -> dict[str, Any]:
        return self._vdi(ref)

    def call_VDI_set_cbt_enabled(self, ref: str, value: bool) -> None:
        assert isinstance(value, bool)
        self._vdi(ref)["cbt_enabled"] = value

    def call_VDI_set_is_a_snapshot(self, ref: str, value: bool) -> None:
        assert isinstance(value, bool)
        self._vdi(ref)["is_a_snapshot"] = value

    def call_VDI_set_snapshot_of(self, ref: str, value: str) -> None:
        self._vdi(value)
        self._vdi(ref)["snapshot_of"] = value

    def call_SR_get_record(self, _: str) -> dict[str, str]:
        return self.sr

    def call_VBD_get_all_records_where(self, expression: str) -> dict[str, Any]:
        return {ref: record for ref, record in self.vbds.items() if expression == f'field "VDI" = "{record["VDI"]}"'}

    def call_SR_get_virtual_allocation(self, _: str) -> str:
        return self.sr["virtual_allocation"]

    def call_SR_set_virtual_allocation(self, _: str, value: str) -> None:
        self.sr["virtual_allocation"] = value

    def call_SR_set_physical_size(self, _: str, value: str) -> None:
        self.sr["physical_size"] = value

    def call_SR_set_physical_utilisation(self, _: str, value: str) -> None:
        self.sr["physical_utilisation"] = value

    def _vdi(self, ref: str) -> dict[str, Any]:
        if ref not in self.vdis:
            raise Failure("HANDLE_INVALID", "VDI", ref)
        return self.vdis[ref]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        toolstack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/jsonrpc", self.path
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
                try:
                    answer["result"] = toolstack.answer(request["method"], request["params"])
                except Failure as failure:
                    code, *rest = failure.args
                    answer["error"] = {"code": 1, "message": code, "data": rest}
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
