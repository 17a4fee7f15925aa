"""A pool that exists on paper: a volume service over HTTPS that lists as many disks and snapshots as one likes.

For what would take long to make in a real one. What the driver does with real disks is tested with a real Ceph.
"""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import uuid
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from dom0.tests.host import Host
from tests.ceph.certificates import Authority

GIB = 1 << 30
ADDRESS = "127.0.0.1"
TEXT_MAX_BYTES = 200  # as volumes/listing.py, which needs Ceph's libraries


class PaperPool:
    """`listing` is what GET …/volumes answers, without long texts if it is to be short. Counts connections and requests."""

    def __init__(self, folder: Path, authority: Authority, disks: int, snapshots: int = 0) -> None:
        self.connections = 0
        self.requests: list[str] = []
        self.closes_each = False
        self.owner: str | None = None
        ids = [str(uuid.uuid4()) for _ in range(disks)]
        self.listing: dict[str, Any] = {
            "volumes": [{"id": each, "size_bytes": GIB, "metadata": metadata(each)} for each in ids],
            "snapshots": [snapshot_of(ids[number % disks], number) for number in range(snapshots)],
            "broken": [],
        }
        authority.issue("volumes", folder / "paper.pem", folder / "paper.key", address=ADDRESS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "paper.pem", folder / "paper.key")
        self._server = socketserver.ThreadingTCPServer((ADDRESS, 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{ADDRESS}:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith("/volumes"):
            return self.listing
        if path.endswith("/volumes?short=true"):
            return {kind: [shortened(each) for each in entries] for kind, entries in self.listing.items()}
        if "/volumes/" in path or "/snapshots/" in path:
            asked = path.rpartition("/")[2]
            entries = self.listing["volumes"] + self.listing["snapshots"]
            return next(each for each in entries if each.get("location", each["id"]) == asked)
        return {"total_bytes": 100 * GIB, "used_bytes": GIB, "owner": self.owner, "fsid": "x"}

    def record_all(self, host: Host) -> None:
        """Give the toolstack a record of everything, as scans have done."""
        refs: dict[str, str] = {}
        for entry in self.listing["volumes"] + self.listing["snapshots"]:
            ref = f"OpaqueRef:{uuid.uuid4()}"
            refs[entry["id"]] = ref
            host.toolstack.vdis[ref] = record(entry, refs.get(entry.get("of", ""), "OpaqueRef:NULL"))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pool = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self) -> None:
                pool.connections += 1
                super().setup()

            def do_GET(self) -> None:
                pool.requests.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                data = json.dumps(pool.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = pool.closes_each  # without a word of it before

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def metadata(name: str) -> dict[str, str]:
    return {"name_label": f"disk {name}", "name_description": "as long as such a line may be, more or less" * 2}


def shortened(entry: dict[str, Any]) -> dict[str, Any]:
    described = entry.get("metadata", {})
    kept = {key: text for key, text in described.items() if len(json.dumps(text)) <= TEXT_MAX_BYTES}
    return entry if kept == described else {**entry, "metadata": kept, "shortened": True}


def snapshot_of(disk: str, number: int) -> dict[str, Any]:
    each = str(uuid.uuid4())
    described = {**metadata(each), "snapshot_time": "20261125T12:00:00Z"}
    location = f"10{number:010x}@{each}"
    return {"id": each, "location": location, "of": disk, "size_bytes": GIB, "metadata": described}


def record(entry: dict[str, Any], snapshot_of: str) -> dict[str, Any]:
    """All fields that a VDI has in xapi: reading them is most of a scan."""
    names: dict[str, Any] = {name: entry["metadata"][name] for name in ("name_label", "name_description")}
    references = {name: "OpaqueRef:NULL" for name in ("parent", "metadata_of_pool")}
    maps: dict[str, Any] = {name: {} for name in ("current_operations", "xenstore_data", "sm_config")}
    flags = {name: False for name in ("sharable", "read_only", "storage_lock", "missing", "allow_caching")}
    flags |= {name: False for name in ("metadata_latest", "is_tools_iso", "cbt_enabled")}
    return {
        **names, **references, **maps, **flags,
        "uuid": entry["id"],
        "allowed_operations": ["snapshot", "clone", "copy", "destroy", "resize", "forget", "update", "enable_cbt"],
        "SR": "OpaqueRef:sr",
        "VBDs": [f"OpaqueRef:{uuid.uuid4()}"],
        "crash_dumps": [],
        "virtual_size": str(entry["size_bytes"]),
        "physical_utilisation": "0",
        "type": "user",
        "other_config": {"content_id": str(uuid.uuid4()), "virtual_size": "no record of its own"},
        "location": entry.get("location", entry["id"]),
        "managed": True,
        "is_a_snapshot": "of" in entry,
        "snapshot_of": snapshot_of,
        "snapshots": [],
        "snapshot_time": "20261125T12:00:00Z",
        "tags": [],
        "on_boot": "persist",
    }  # fmt: skip
