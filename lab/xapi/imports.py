"""Raw disk images by HTTP, into and out of any disk, on a host that sees its SR.

    PUT /import_raw_vdi?session_id=…&task_id=…&vdi=…&format=raw[&chunked=true]     `sr_id` in place of `vdi`: a new one

As xapi does it: `200 OK` goes out before the disk is attached or the body read, so it says nothing; success or failure
is the task's. A Transfer-Encoding is refused. Plain body: raw bytes, as many as the VDI has; zeros in it are not
written (SM's disks begin with zeros). Chunked body: any number of (offset u64, length u32, little endian, then so many
bytes), written as they come, the end being offset 0 and length 0; what is never sent stays as it is.

    GET /export_raw_vdi?session_id=…&vdi=…&format=raw[&task_id=…]

The whole VDI, with no length said before: the connection's end is the body's. There are no ranges.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO

from lab.xapi import attached, sparse
from lab.xapi.classes.vdi import create as create_vdi
from lab.xapi.failure import Failure, internal_error
from lab.xapi.toolstack import Caller, Context, Toolstack
from lab.xapi.transfer import Place, Target, Transfers

PIECE_BYTES = 1024**2
ZEROS = bytes(PIECE_BYTES)
LENGTH = re.compile(r"[0-9]{1,18}")
Report = Callable[[float], None]


def begin(toolstack: Toolstack, host_name: str, query: dict[str, str], path: str) -> dict[str, Any]:
    """The master's part before an import or export on a host: may it, and where."""
    db = toolstack.db
    if not db.exists("session", query.get("session_id", "")):
        return {"status": 401}
    wanted = query.get("vdi", "")
    found = [wanted] if db.exists("VDI", wanted) else db.where("VDI", uuid=wanted)
    if wanted and not found:
        return {"status": 404}
    task = query.get("task_id") or toolstack.new_task(path.strip("/"))
    sr = db.get("VDI", found[0], "SR") if found else _sr(toolstack, query)
    if not sr:
        return _fail(toolstack, task, Failure("VDI_MISSING"), 400)
    hosts = [db.get("PBD", ref, "host") for ref in db.where("PBD", SR=sr, currently_attached=True)]
    if not hosts:
        return _fail(toolstack, task, Failure("SR_HAS_NO_PBDS", sr), 500)
    if toolstack.host_ref(host_name) not in hosts:
        return {"status": 302, "address": db.get("host", hosts[0], "address")}
    if query.get("format", "raw") != "raw":
        return _fail(toolstack, task, internal_error(f"Unknown format {query['format']}"), 404)
    try:
        vdi = found[0] if found else _new_vdi(toolstack, sr, query)
    except Failure as failure:
        return _fail(toolstack, task, failure, 400)
    own = {"uuid": db.get("VDI", vdi, "uuid"), "size_bytes": db.get("VDI", vdi, "virtual_size")}
    return {"status": 200, "task": task, "vdi": vdi, **own}


def _sr(toolstack: Toolstack, query: dict[str, str]) -> str:
    """The SR that a new VDI is wanted in."""
    wanted = query.get("sr_id") or query.get("sr_uuid") or query.get("sr", "")
    found = [wanted] if toolstack.db.exists("SR", wanted) else toolstack.db.where("SR", uuid=wanted)
    return found[0] if found else ""


def _new_vdi(toolstack: Toolstack, sr: str, query: dict[str, str]) -> str:
    """A VDI as long as the body."""
    if not LENGTH.fullmatch(query.get("content-length", "")) or "chunked" in query:
        raise internal_error("Not enough info supplied to import")
    record = {"name_label": "Imported VDI", "name_description": "", "SR": sr, "virtual_size": query["content-length"],
              "type": "user", "sharable": False, "read_only": False, "other_config": {}}  # fmt: skip
    return str(create_vdi(Context(toolstack, Caller(toolstack.settings.host)), record))


def _fail(toolstack: Toolstack, task: str, failure: Failure, status: int) -> dict[str, Any]:
    toolstack.end_task(task, failure=failure)
    return {"status": status}


def attach(toolstack: Toolstack, host_name: str, vdi: str, *, writable: bool) -> dict[str, Any]:
    """Give the disk to that host's dom0: its VBD, and the disk as the host's agent takes it."""
    context, host = Context(toolstack, Caller(host_name)), toolstack.host_ref(host_name)
    vbd = attached.reserve(context, vdi, host, writable=writable)
    try:
        return {"vbd": vbd, "disk": attached.plug(context, vbd, host)}
    except Failure:
        context.db.destroy("VBD", vbd)
        raise


def end(toolstack: Toolstack, host_name: str, told: dict[str, Any]) -> None:
    """Take the disk back and end the task."""
    failure = Failure(*told["failure"]) if told["failure"] else None
    if told["vbd"]:
        context = Context(toolstack, Caller(host_name))
        try:
            attached.release(context, told["vbd"], toolstack.host_ref(host_name))
        except Failure as error:
            failure = failure or error
    toolstack.end_task(told["task"], f"<value>{told['vdi']}</value>" if told["is_import"] else "", failure=failure)


def receive(source: BinaryIO, transfers: Transfers, place: Place, report: Report, *, chunked: bool) -> None:
    """Write a body into the disk. Raises Failure when it is not what it should be."""
    fill = sparse.filler(source)
    try:
        with transfers.writing(place) as target:
            if chunked:
                for offset, data in sparse.parse(fill, place.size_bytes):
                    target.write(data, offset)
                    report((offset + len(data)) / place.size_bytes)
            else:
                _receive_plain(fill, target, place.size_bytes, report)
    except sparse.NoGood as error:
        raise internal_error(str(error)) from error


def _receive_plain(fill: Callable[[memoryview], None], target: Target, size_bytes: int, report: Report) -> None:
    buffer = sparse.aligned_buffer()
    for offset in range(0, size_bytes, PIECE_BYTES):
        piece = buffer[: min(PIECE_BYTES, size_bytes - offset)]
        fill(piece)
        for begin_, end_ in sparse.runs(piece):
            target.write(piece[begin_:end_], offset + begin_)
        report((offset + len(piece)) / size_bytes)


def send(transfers: Transfers, place: Place, sink: BinaryIO, report: Report) -> None:
    """Write the whole disk to a body."""
    done = 0
    with transfers.reading(place) as found:
        for offset, data in found:
            _send_zeros(sink, offset - done)
            sink.write(data)
            done = offset + len(data)
            report(done / place.size_bytes)
    _send_zeros(sink, place.size_bytes - done)


def _send_zeros(sink: BinaryIO, count: int) -> None:
    for start in range(0, count, PIECE_BYTES):
        sink.write(ZEROS[: min(PIECE_BYTES, count - start)])
