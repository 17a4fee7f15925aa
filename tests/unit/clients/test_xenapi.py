"""The XenAPI client against a real HTTPS server on loopback: a good one, and some that hang, lie or go away."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shoal.clients.https import ConnectionBroken, HttpsPool
from shoal.clients.pins import PinChanged, Pins
from shoal.clients.raw_import import data_ranges, send_image, without_zeros
from shoal.clients.xenapi import LoginRefused, TaskTimedOut, ToolstackUnreachable, XenApi, XenApiError
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.secret import Secret
from tests.unit.clients.toolstack_server import SESSION, Failure, Toolstack, certificate


@pytest.fixture
def toolstack(tmp_path: Path) -> Iterator[Toolstack]:
    path, fingerprint = certificate(tmp_path)
    made = Toolstack(path)
    made.fingerprint = fingerprint
    yield made
    made.close()


@pytest.fixture
async def xenapi(toolstack: Toolstack, tmp_path: Path) -> AsyncIterator[XenApi]:
    made = XenApi(toolstack.url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
    yield made
    toolstack.calls["session.logout"] = ""
    await made.close()


async def test_calls_carry_the_session_numbers_as_texts_and_secrets_in_clear(
    toolstack: Toolstack, xenapi: XenApi
) -> None:
    toolstack.calls["VDI.create"] = "OpaqueRef:vdi"
    record = {"virtual_size": 1 << 40, "sharable": False, "other_config": {"n": 1}, "password": Secret("s3cret")}
    assert await xenapi.text("VDI.create", record) == "OpaqueRef:vdi"
    method, params = toolstack.seen[-1]
    assert (method, params[0]) == ("VDI.create", SESSION)
    assert params[1] == {
        "virtual_size": str(1 << 40),
        "sharable": False,
        "other_config": {"n": "1"},
        "password": "s3cret",
    }


async def test_many_calls_at_once_need_one_login(toolstack: Toolstack, xenapi: XenApi) -> None:
    toolstack.calls["VM.get_all_records"] = {"OpaqueRef:1": {"name_label": "vm"}}
    answers = await asyncio.gather(*(xenapi.records("VM") for _ in range(30)))
    assert answers == [{"OpaqueRef:1": {"name_label": "vm"}}] * 30
    assert [method for method, _ in toolstack.seen].count("session.login_with_password") == 1


async def test_a_refusal_has_code_and_params_and_no_secret(toolstack: Toolstack, xenapi: XenApi) -> None:
    def refuse(value: str) -> NoReturn:
        raise Failure("MAP_DUPLICATE_KEY", "pool", f"it was {value}")

    toolstack.calls["secret.create"] = refuse
    with pytest.raises(XenApiError) as raised:
        await xenapi.call("secret.create", Secret("s3cret"))
    assert raised.value.code == "MAP_DUPLICATE_KEY"
    assert raised.value.params == ("pool", "it was …")
    assert "s3cret" not in f"{raised.value} {raised.value.details} {raised.value!r}"


async def test_a_lost_session_is_renewed_and_the_call_made_once(toolstack: Toolstack, xenapi: XenApi) -> None:
    made: list[int] = []

    def create(_: object) -> str:
        made.append(1)
        return "OpaqueRef:vm"

    toolstack.calls["VM.create"] = create
    await xenapi.login()
    xenapi._session = "OpaqueRef:from-before-the-restart"
    assert await xenapi.text("VM.create", {}) == "OpaqueRef:vm"
    assert made == [1]


async def test_wrong_password_is_final_and_says_where(toolstack: Toolstack, tmp_path: Path) -> None:
    xenapi = XenApi(toolstack.url, "root", Secret("s3cret"), pins=Pins(tmp_path / "pins.json"))
    with pytest.raises(LoginRefused) as raised:
        await xenapi.login()
    assert raised.value.where == "pool.password"
    assert not isinstance(raised.value, TemporaryError)
    assert "s3cret" not in f"{raised.value} {raised.value.details}"
    await xenapi.close()


async def test_a_member_sends_on_to_the_master(
    toolstack: Toolstack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = certificate(tmp_path, "member")
    member = Toolstack(path)

    def refuse() -> NoReturn:
        raise Failure("HOST_IS_SLAVE", "127.0.0.1")

    member.calls["login"] = refuse
    xenapi = XenApi(member.url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
    followed: list[str] = []

    def follow(address: str) -> None:  # a real master is at port 443
        followed.append(address)
        xenapi._https = HttpsPool("127.0.0.1", toolstack.port, pins=xenapi._pins)

    monkeypatch.setattr(xenapi, "_follow", follow)
    await xenapi.login()
    assert followed == ["127.0.0.1"]
    toolstack.calls["pool.get_all"] = ["OpaqueRef:pool"]
    assert await xenapi.call("pool.get_all") == ["OpaqueRef:pool"]
    await xenapi.close()
    member.close()


async def test_a_master_that_is_none_any_more_sends_on_too(
    toolstack: Toolstack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = certificate(tmp_path, "member")
    former = Toolstack(path)
    xenapi = XenApi(former.url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
    await xenapi.login()

    def refuse(*_: object) -> NoReturn:
        raise Failure("HOST_IS_SLAVE", "127.0.0.1")

    def follow(_: str) -> None:  # a real master is at port 443
        xenapi._https = HttpsPool("127.0.0.1", toolstack.port, pins=xenapi._pins)

    former.calls["login"] = former.calls["pool.get_all"] = refuse
    monkeypatch.setattr(xenapi, "_follow", follow)
    toolstack.calls["pool.get_all"] = ["OpaqueRef:pool"]
    assert await xenapi.call("pool.get_all") == ["OpaqueRef:pool"]
    await xenapi.close()
    former.close()


async def test_a_changed_certificate_is_refused_before_the_password_is_sent(
    toolstack: Toolstack, tmp_path: Path
) -> None:
    pins = Pins(tmp_path / "pins.json")
    pins.check("TLS certificate", f"127.0.0.1:{toolstack.port}", "sha256:00")
    with pytest.raises(PinChanged):
        await XenApi(toolstack.url, "root", Secret("pw"), pins=pins).login()
    assert toolstack.seen == []


async def test_the_fingerprint_of_the_spec_counts_from_the_first_contact(toolstack: Toolstack, tmp_path: Path) -> None:
    pins = Pins(tmp_path / "pins.json")
    good = XenApi(toolstack.url, "root", Secret("pw"), pins=pins, fingerprint=toolstack.fingerprint.upper())
    await good.login()
    with pytest.raises(PinChanged) as raised:
        await XenApi(toolstack.url, "root", Secret("pw"), pins=pins, fingerprint="sha256:" + "0" * 64).login()
    assert raised.value.where == "pool.fingerprint"
    assert [method for method, _ in toolstack.seen] == ["session.login_with_password"]


TASK: dict[str, Any] = {"status": "pending", "progress": "0.5", "result": "", "error_info": []}


async def test_a_task_is_followed_to_its_result_and_destroyed(toolstack: Toolstack, xenapi: XenApi) -> None:
    answers = [TASK, TASK, {**TASK, "status": "success", "result": "<value>OpaqueRef:sr</value>"}]
    toolstack.calls.update(
        {"Async.SR.create": "OpaqueRef:task", "task.get_record": lambda _: answers.pop(0), "task.destroy": ""}
    )
    progress: list[float] = []
    assert await xenapi.call_async("SR.create", "x", timeout_s=5, progress=progress.append) == "OpaqueRef:sr"
    assert progress == [0.5, 0.5]
    assert toolstack.seen[-1][0] == "task.destroy"


async def test_a_failed_task_raises_its_own_error(toolstack: Toolstack, xenapi: XenApi) -> None:
    failed = {**TASK, "status": "failure", "error_info": ["SR_BACKEND_FAILURE_47", "", "no monitor answers"]}
    toolstack.calls.update({"Async.PBD.plug": "OpaqueRef:task", "task.get_record": failed, "task.destroy": ""})
    with pytest.raises(XenApiError) as raised:
        await xenapi.call_async("PBD.plug", "x", timeout_s=5)
    assert raised.value.code == "SR_BACKEND_FAILURE_47"
    assert raised.value.params == ("", "no monitor answers")


async def test_a_task_without_end_is_cancelled(toolstack: Toolstack, xenapi: XenApi) -> None:
    toolstack.calls.update({"Async.VM.start": "OpaqueRef:task", "task.get_record": TASK, "task.cancel": ""})
    with pytest.raises(TaskTimedOut):
        await xenapi.call_async("VM.start", "x", timeout_s=0.3)
    assert toolstack.seen[-1] == ("task.cancel", [SESSION, "OpaqueRef:task"])


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
        xenapi = XenApi(url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
        with pytest.raises(ToolstackUnreachable) as raised:
            asyncio.run(xenapi.login())
        assert raised.value.where == "pool.url"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: "
BAD_ANSWERS = {
    "garbage": [bytes(range(256))],
    "nothing": [b""],
    "half an answer": [OK + b"500\r\n\r\n{"],
    "no JSON": [OK + b"9\r\n\r\n<html></h"],
    "JSON that is no answer": [OK + b"2\r\n\r\n[]"],
    "neither result nor error": [OK + b"2\r\n\r\n{}"],
    "another status": [b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"],
    "endless nesting": [OK + b"200000\r\n\r\n" + b"[" * 200000],
    "one byte now and then": [OK + b"2000\r\n\r\n"] + [b" "] * 2000,
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_broken_toolstack_is_unreachable_in_time(
    toolstack: Toolstack, xenapi: XenApi, answer: list[bytes]
) -> None:
    await xenapi.login()
    toolstack.raw = answer
    began = time.monotonic()
    with pytest.raises(ToolstackUnreachable):
        await xenapi.call("VM.start", "x", timeout_s=1)
    assert time.monotonic() - began < 3
    assert [method for method, _ in toolstack.seen].count("VM.start") == 1  # never sent twice
    toolstack.raw = None
    toolstack.hang.set()
    toolstack.calls["pool.get_all"] = []
    assert await xenapi.call("pool.get_all") == []


async def test_a_server_that_never_even_greets(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        https = HttpsPool("127.0.0.1", silent.getsockname()[1], pins=Pins(tmp_path / "pins.json"))
        with pytest.raises(ConnectionBroken):
            await https.post_json("/jsonrpc", {}, timeout_s=0.3, repeatable=True)
        https.close()


async def test_an_image_that_is_not_there_is_said(toolstack: Toolstack, tmp_path: Path) -> None:
    https = HttpsPool("127.0.0.1", toolstack.port, pins=Pins(tmp_path / "pins.json"))
    with pytest.raises(ShoalError, match=r"cannot be read.*missing\.raw"):
        await https.in_thread(lambda: send_image(https, "/", tmp_path / "missing.raw", lambda *_: None))
    https.close()


def image(path: Path, size: int = 9 << 20) -> Path:
    """A sparse file: data at the start, in the middle across a block's edge, and at the very end."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in ((0, b"start"), ((5 << 20) - 3, b"across"), (size - 3, b"end")):
            file.seek(offset)
            file.write(data)
    return path


async def test_an_image_arrives_whole_and_its_holes_are_not_sent(toolstack: Toolstack, tmp_path: Path) -> None:
    source = image(tmp_path / "image.raw")
    https = HttpsPool("127.0.0.1", toolstack.port, pins=Pins(tmp_path / "pins.json"))
    progress: list[tuple[int, int]] = []
    path = f"/import_raw_vdi?session_id={SESSION}&vdi=v&chunked=true"
    await https.in_thread(lambda: send_image(https, path, source, lambda *sent: progress.append(sent)))
    got = toolstack.images["v"]
    assert got["ended"]
    assert bytes(got["data"][: 9 << 20]) == source.read_bytes()
    assert got["received"] < 1 << 20
    assert progress[-1][0] == progress[-1][1] > 0
    https.close()


@pytest.mark.parametrize("session", [SESSION, "OpaqueRef:other"])
async def test_a_broken_import_is_said(toolstack: Toolstack, tmp_path: Path, session: str) -> None:
    toolstack.images["v"] = {"received": 0, "data": bytearray(16 << 20), "break": True}
    source = tmp_path / "image.raw"
    source.write_bytes(os.urandom(12 << 20))
    https = HttpsPool("127.0.0.1", toolstack.port, pins=Pins(tmp_path / "pins.json"))
    with pytest.raises(ConnectionBroken):
        await https.in_thread(
            lambda: send_image(https, f"/import_raw_vdi?session_id={session}&vdi=v", source, lambda *_: None)
        )
    https.close()


def test_ranges_and_pieces_hold_every_byte_that_is_not_zero(tmp_path: Path) -> None:
    source = image(tmp_path / "image.raw")
    rebuilt = bytearray(source.stat().st_size)
    with source.open("rb") as file:
        for start, length in data_ranges(file):
            data = os.pread(file.fileno(), length, start)
            for offset, piece in without_zeros(start, data):
                rebuilt[offset : offset + len(piece)] = piece
    assert rebuilt == source.read_bytes()
    assert list(without_zeros(7, bytes(1 << 20))) == []
