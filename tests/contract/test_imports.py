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

from lab.xapi import imports
from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import (
    MIB,
    commands,
    make_sr,
    open_session,
    refused,
    requests,
    vbd_record,
    vdi_record,
    vm_record,
)

SIZE = 4 * MIB


class Import:
    """One VDI of Local storage, or of a shared SR, a task, and a raw connection."""

    def __init__(self, pool: LoopbackPool, host: str = "xen1", *, shared: bool = False) -> None:
        self.pool, self.host, self.shared = pool, host, shared
        session = open_session(pool)
        self.api, self.session = session.xenapi, session.handle
        self.sr = make_sr(self.api, pool) if shared else local_storage(self.api, host)
        self.vdi = self.api.VDI.create(vdi_record(self.sr, SIZE))
        self.task = self.api.task.create("import", "")

    @property
    def file(self) -> Path:
        if self.shared:
            return self.pool.master.root / "storage" / str(self.api.VDI.get_location(self.vdi))
        return self.pool.hosts[self.host].dir / "sr" / f"{self.api.VDI.get_location(self.vdi)}.img"

    def put(self, body: bytes, *, to: str | None = None, headers: str = "", **query: str) -> bytes:
        asked = {"session_id": self.session, "task_id": self.task, "vdi": self.vdi, "format": "raw", **query}
        asked = {name: value for name, value in asked.items() if value}
        peer = self.pool.peers[to or self.host]
        plain = socket.create_connection((peer.address, peer.port), 10)
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


def test_into_dom0(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    data = os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB)
    one.put(data, headers=f"Content-Length: {SIZE}\r\n")
    assert one.outcome()[0] == "success"
    assert one.file.read_bytes() == data and one.file.stat().st_blocks * 512 < 3 * MIB, "zeros were written"
    assert one.api.VDI.get_VBDs(one.vdi) == [] and commands(pool.master)[-2:] == ["vdi_deactivate", "vdi_detach"]


@pytest.mark.parametrize("shared", [False, True], ids=["Local storage", "in dom0"])
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
    pool: LoopbackPool, body: bytes, query: dict[str, str], reason: str, *, shared: bool
) -> None:
    one = Import(pool, shared=shared)
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
    assert b" 302 " in sent_on.splitlines()[0] and b"Location: https://127.0.0.2/import_raw_vdi?" in sent_on
    data = os.urandom(SIZE)
    one.put(data, headers=f"Content-Length: {SIZE}\r\n")
    assert one.outcome()[0] == "success"
    assert one.file.read_bytes() == data


def get(one: Import, *, host: str = "xen1", **query: str) -> tuple[bytes, Any]:
    """What an export sends, up to its end, and its headers."""
    asked = urlencode({"session_id": one.session, "vdi": one.vdi, "format": "raw", "task_id": one.task, **query})
    url = f"{one.pool.hosts[host].url}/export_raw_vdi?{asked}"
    answer = urlopen(url, context=ssl._create_unverified_context(), timeout=20)
    return answer.read(), answer.headers


@pytest.mark.parametrize("shared", [False, True], ids=["Local storage", "in dom0"])
def test_export(pool: LoopbackPool, *, shared: bool) -> None:
    one = Import(pool, shared=shared)
    data = bytes(MIB) + os.urandom(MIB + 1000) + bytes(2 * MIB - 1000)
    one.file.write_bytes(data)
    content, headers = get(one)
    assert content == data
    assert headers["task-id"] == one.task and "Content-Length" not in headers, "xapi does not say how long it is"
    assert one.outcome()[0] == "success"
    assert get(one, task_id="")[0] == data
    assert one.api.VDI.get_VBDs(one.vdi) == []


def test_import_and_export_on_any_host_that_sees_the_sr(three: LoopbackPool) -> None:
    one = Import(three, "xen2", shared=True)
    data = os.urandom(MIB) + bytes(MIB) + os.urandom(2 * MIB)
    one.put(data, headers=f"Content-Length: {SIZE}\r\n")
    assert one.outcome()[0] == "success"
    assert one.api.task.get_result(one.task) == f"<value>{one.vdi}</value>"
    assert one.file.read_bytes() == data
    asked = [name for name in commands(three.hosts["xen2"]) if name.startswith("vdi")]
    assert asked == ["vdi_attach", "vdi_activate", "vdi_deactivate", "vdi_detach"]
    one.task = one.api.task.create("export", "")
    assert get(one, host="xen3")[0] == data
    assert requests(three.hosts["xen3"])[-4]["args"] == ["false"]


def test_an_import_in_pieces_goes_on_where_the_last_one_ended(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    data = os.urandom(SIZE)
    body = chunk(0, data[:MIB]) + chunk(MIB, data[MIB : MIB + 5000])
    one.put(body, chunked="true")
    assert one.outcome()[0] == "failure", "there was no end mark"
    assert one.file.read_bytes()[: MIB + 5000] == data[: MIB + 5000]
    one.task = one.api.task.create("import", "")
    body = chunk(MIB, data[MIB:]) + chunk(0, b"")
    one.put(body, chunked="true", headers=f"Content-Length: {len(body)}\r\n")
    assert one.outcome()[0] == "success" and one.file.read_bytes() == data


def test_zeros_that_are_sent_in_pieces_are_written(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    one.file.write_bytes(os.urandom(SIZE))
    body = chunk(MIB, bytes(MIB)) + chunk(0, b"")
    one.put(body, chunked="true", headers=f"Content-Length: {len(body)}\r\n")
    assert one.outcome()[0] == "success"
    content = one.file.read_bytes()
    assert content[MIB : 2 * MIB] == bytes(MIB) and content[:MIB] != bytes(MIB)


def test_a_disk_in_use_is_not_imported_to(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    vm = one.api.VM.create(vm_record())
    one.api.VBD.create(vbd_record(vm, one.vdi))
    one.api.VM.start(vm, False, False)
    assert one.put(b"", headers="Content-Length: 0\r\n").startswith(b"HTTP/1.1 200")
    assert one.outcome() == ("failure", ["VDI_IN_USE", one.vdi])
    assert len(one.api.VDI.get_VBDs(one.vdi)) == 1


def test_an_import_into_an_sr_makes_the_disk(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    data = os.urandom(MIB)
    one.put(data, vdi="", sr_id=one.sr, headers=f"Content-Length: {MIB}\r\n")
    assert one.outcome()[0] == "success"
    one.vdi = one.api.task.get_result(one.task).removeprefix("<value>").removesuffix("</value>")
    assert one.file.read_bytes() == data and one.api.VDI.get_name_label(one.vdi) == "Imported VDI"
    one.task = one.api.task.create("import", "")
    assert b" 400 " in one.put(b"", vdi="", headers="Content-Length: 0\r\n").splitlines()[0]
    assert one.outcome() == ("failure", ["VDI_MISSING"])


def test_what_a_dying_toolstack_left_attached_is_given_back(pool: LoopbackPool) -> None:
    one = Import(pool, shared=True)
    imports.attach(pool.master.toolstack, "xen1", one.vdi, writable=True)
    assert refused(one.api.VDI.destroy, one.vdi) == ["VDI_IN_USE", one.vdi, "destroy"]
    pool.master.stop()
    pool.master.start()
    assert commands(pool.master)[-2:] == ["vdi_deactivate", "vdi_detach"]
    api = open_session(pool).xenapi
    assert api.VDI.get_VBDs(one.vdi) == []
