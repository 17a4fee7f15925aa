"""Disk images by HTTP, both forms, and every way for them to fail."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import MIB, open_session, vdi_record

SIZE = 4 * MIB


class Import:
    """One VDI of Local storage, a task, and a raw connection."""

    def __init__(self, pool: LoopbackPool, host: str = "xen1") -> None:
        self.pool, self.host = pool, host
        session = open_session(pool)
        self.api, self.session = session.xenapi, session.handle
        self.sr = local_storage(self.api, host)
        self.vdi = self.api.VDI.create(vdi_record(self.sr, SIZE))
        self.task = self.api.task.create("import", "")

    @property
    def file(self) -> Path:
        return self.pool.hosts[self.host].dir / "sr" / f"{self.api.VDI.get_location(self.vdi)}.img"

    def put(self, body: bytes, *, to: str | None = None, headers: str = "", **query: str) -> bytes:
        asked = {"session_id": self.session, "task_id": self.task, "vdi": self.vdi, "format": "raw", **query}
        port = self.pool.peers[to or self.host].port
        plain = socket.create_connection(("127.0.0.1", port), 10)
        with ssl._create_unverified_context().wrap_socket(plain) as wire:
            head = f"PUT /import_raw_vdi?{urlencode(asked)} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
            wire.sendall(head.encode() + body)
            answer = wire.recv(65536)
            while "Content-Length" in headers and (piece := wire.recv(65536)):
                answer += piece
        return answer  # without a length the body ends with the connection

    def outcome(self) -> tuple[str, list[str]]:
        deadline = time.monotonic() + 10
        while (record := self.api.task.get_record(self.task))["status"] == "pending":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return record["status"], record["error_info"]


def local_storage(api: Any, host: str) -> str:
    for sr in api.SR.get_by_name_label("Local storage"):
        (pbd,) = api.SR.get_PBDs(sr)
        if api.host.get_name_label(api.PBD.get_host(pbd)) == host:
            return str(sr)
    raise AssertionError(host)


def chunk(offset: int, data: bytes) -> bytes:
    return struct.pack("<QI", offset, len(data)) + data


def test_plain(pool: LoopbackPool) -> None:
    one = Import(pool)
    data = os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB)
    answer = one.put(data, headers=f"Content-Length: {SIZE}\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and one.task.encode() in answer
    assert one.outcome()[0] == "success"
    assert one.file.read_bytes() == data
    assert one.file.stat().st_blocks * 512 < 3 * MIB, "zeros were written"
    assert one.api.task.get_progress(one.task) == 1.0


def test_sparse(pool: LoopbackPool) -> None:
    one = Import(pool)
    body = chunk(0, b"start" * 100) + chunk(3 * MIB, os.urandom(MIB)) + chunk(0, b"")
    one.put(body, headers=f"Content-Length: {len(body)}\r\n", chunked="true")
    assert one.outcome()[0] == "success"
    content = one.file.read_bytes()
    assert content[:500] == b"start" * 100 and content[500 : 3 * MIB] == bytes(3 * MIB - 500)
    assert content[3 * MIB :] == body[12 + 500 + 12 : -12] and len(content) == SIZE


@pytest.mark.parametrize(
    ("body", "query", "reason"),
    [
        (bytes(MIB), {}, "End_of_file"),
        (chunk(0, b"x"), {"chunked": "true"}, "End_of_file"),
        (chunk(SIZE - 1, b"xx"), {"chunked": "true"}, "beyond"),
    ],
    ids=["short", "no end mark", "too far"],
)
def test_bodies_that_are_no_good_fail_the_task(
    pool: LoopbackPool, body: bytes, query: dict[str, str], reason: str
) -> None:
    one = Import(pool)
    assert one.put(body, **query).startswith(b"HTTP/1.1 200")
    status, error = one.outcome()
    assert (status, error[0]) == ("failure", "INTERNAL_ERROR") and reason in error[1]


def test_refused_before_a_body_is_read(pool: LoopbackPool) -> None:
    one = Import(pool)
    length = "Content-Length: 0\r\n"
    assert b" 401 " in one.put(b"", headers=length, session_id="OpaqueRef:none").splitlines()[0]
    assert b" 404 " in one.put(b"", headers=length, vdi="OpaqueRef:none").splitlines()[0]
    assert b" 403 " in one.put(b"", headers="Transfer-Encoding: chunked\r\nContent-Length: 0\r\n").splitlines()[0]
    assert one.api.task.get_status(one.task) == "pending"
    assert b" 404 " in one.put(b"", headers=length, format="qcow2").splitlines()[0]
    assert one.outcome()[0] == "failure"


def test_the_host_of_the_sr_takes_it(three: LoopbackPool) -> None:
    one = Import(three, "xen2")
    sent_on = one.put(b"", to="xen3", headers="Content-Length: 0\r\n")
    assert b" 302 " in sent_on.splitlines()[0] and b"Location: https://127.0.0.1/import_raw_vdi?" in sent_on
    data = os.urandom(SIZE)
    one.put(data, headers=f"Content-Length: {SIZE}\r\n")
    assert one.outcome()[0] == "success"
    assert one.file.read_bytes() == data


def test_export(pool: LoopbackPool) -> None:
    one = Import(pool)
    one.file.write_bytes(data := os.urandom(SIZE))
    query = urlencode({"session_id": one.session, "vdi": one.vdi, "format": "raw"})
    answer = urlopen(f"{pool.url}/export_raw_vdi?{query}", context=ssl._create_unverified_context())
    assert (answer.read(), answer.headers["Content-Length"]) == (data, str(SIZE))
