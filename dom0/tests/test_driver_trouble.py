"""Volume services that hang, close, lie or are away. The driver goes to the next one, or fails in time and says why."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import threading
import time
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dom0.shoal_dom0 import locking
from dom0.shoal_dom0.call import Call
from dom0.shoal_dom0.deadline import Deadline
from dom0.shoal_dom0.errors import SRError, SRUnavailable, VDIUnavailable
from dom0.tests import paper_pool
from dom0.tests.host import Host
from tests.ceph.certificates import Authority

ADDRESS = "127.0.0.1"
Behaviour = Callable[[ssl.SSLSocket], None]


def hang(connection: ssl.SSLSocket) -> None:
    time.sleep(30)


def close(connection: ssl.SSLSocket) -> None:
    connection.recv(1)


def garbage(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"\x00\x01 this is not HTTP \xff\r\n\r\n")


def cut_off(connection: ssl.SSLSocket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"volumes": [')


def drip(connection: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        for _ in range(300):
            connection.sendall(b"H")
            time.sleep(0.1)


def not_json(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull")


def answer(connection: ssl.SSLSocket, status: int, body: bytes) -> None:
    connection.recv(65536)  # else its end could overtake the answer
    connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)


def nested(connection: ssl.SSLSocket) -> None:
    answer(connection, 200, b'{"a":' * 100_000)


def odd_code(connection: ssl.SSLSocket) -> None:
    answer(connection, 409, b'{"error": {"code": ["in_use"], "message": "no"}}')


def unknown_client(connection: ssl.SSLSocket) -> None:
    """A service that was away when this host joined, and has not heard of it."""
    answer(connection, 403, b'{"error": {"code": "unknown_client", "message": "no client is called dom0"}}')


def away(connection: ssl.SSLSocket) -> None:
    body = json.dumps({"error": {"code": "ceph_away", "message": "Ceph is away"}}).encode()
    connection.sendall(b"HTTP/1.1 503 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def owned_pool(sr: str) -> Behaviour:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.recv(65536)
        body = json.dumps({"owner": sr, "fsid": "x", "total_bytes": 1, "used_bytes": 0}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return serve


@contextlib.contextmanager
def serving(
    authority: Authority, folder: Path, behaviour: Behaviour, *, address: str = ADDRESS, at: socket.socket | None = None
) -> Iterator[str]:
    """A TLS server with that behaviour, which listens there; its certificate is for `address`."""
    folder = folder / f"server-{uuid.uuid4()}"
    folder.mkdir()
    authority.issue("volumes", folder / "server.pem", folder / "server.key", address=address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    listener = at or socket.create_server((ADDRESS, 0))

    def handle(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            behaviour(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=handle, args=(plain,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield "%s:%d" % listener.getsockname()
    finally:
        # One that is closed under a thread that waits at it would have that thread wait at the next socket of its number.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.fixture
def host(lone_host: Host, client_files: Path) -> Host:
    shutil.copytree(client_files, lone_host.folder / "volumes")
    return lone_host


TROUBLE = [hang, close, garbage, cut_off, drip, not_json, nested, odd_code, unknown_client, away]


@pytest.mark.parametrize("behaviour", TROUBLE, ids=lambda b: b.__name__)
def test_the_next_service_answers_instead(host: Host, authority: Authority, behaviour: Behaviour) -> None:
    with (
        serving(authority, host.folder, behaviour) as bad,
        serving(authority, host.folder, owned_pool(host.sr)) as good,
    ):
        host.device_config["volumes"] = f"{bad},{good}"
        started = time.monotonic()
        host.call("sr_attach")
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("behaviour", TROUBLE, ids=lambda b: b.__name__)
def test_when_all_are_in_trouble_it_ends_in_time(host: Host, authority: Authority, behaviour: Behaviour) -> None:
    with serving(authority, host.folder, behaviour) as one, serving(authority, host.folder, behaviour) as two:
        host.device_config["volumes"] = f"{one},{two},127.0.0.1:1"
        started = time.monotonic()
        with pytest.raises(xmlrpc.client.Fault) as caught:
            host.call("sr_attach")
        assert time.monotonic() - started < 10.5
    assert caught.value.faultCode == 47
    for said in (one, two, "127.0.0.1:1 (Connection refused)", "127.0.0.1:6789"):
        assert said in caught.value.faultString


def test_this_hosts_own_service_is_asked_first(host: Host, authority: Authority) -> None:
    asked: list[str] = []

    def note(name: str) -> Behaviour:
        def serve(connection: ssl.SSLSocket) -> None:
            asked.append(name)
            owned_pool(host.sr)(connection)

        return serve

    with serving(authority, host.folder, note("other")) as other, serving(authority, host.folder, note("own")) as own:
        host.device_config["volumes"] = f"{other},{own}"
        (host.folder / "host.json").write_text(json.dumps({"volume_service": own}))
        host.call("sr_attach")
    assert asked == ["own"]


@pytest.mark.parametrize(("code", "fault", "asked_of"), [("too_long", 460, 1), ("timeout", 46, 2)])
def test_a_comparison_that_takes_too_long_is_not_begun_anew_elsewhere(
    host: Host, authority: Authority, code: str, fault: int, asked_of: int
) -> None:
    """One that could not begin, behind others, is."""
    disk = {"id": str(uuid.uuid4()), "size_bytes": 1 << 30, "metadata": paper_pool.metadata("disk")}
    snapshot = paper_pool.snapshot_of(disk["id"], 1)
    for entry in (disk, snapshot):
        record = paper_pool.record(entry, "OpaqueRef:NULL") | {"cbt_enabled": True}
        host.toolstack.vdis["OpaqueRef:" + entry["id"]] = record
    asked = []

    def refuse(connection: ssl.SSLSocket) -> None:
        asked.append(code)
        answer(connection, 504, json.dumps({"error": {"code": code, "message": "no"}}).encode())

    with serving(authority, host.folder, refuse) as one, serving(authority, host.folder, refuse) as two:
        host.device_config["volumes"] = f"{one},{two}"
        with pytest.raises(xmlrpc.client.Fault) as caught:
            host.call("vdi_list_changed_blocks", snapshot["id"], args=("OpaqueRef:" + disk["id"],))
    assert (caught.value.faultCode, len(asked)) == (fault, asked_of)


def test_a_server_of_another_authority_is_not_believed(host: Host) -> None:
    with serving(Authority.make("other"), host.folder, owned_pool(host.sr)) as impostor:
        host.device_config["volumes"] = impostor
        with pytest.raises(xmlrpc.client.Fault, match="CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            host.call("sr_attach")


def test_a_certificate_for_another_address_is_not_believed(host: Host, authority: Authority) -> None:
    """A stolen client certificate, or another storage VM's, cannot pose as this server."""
    with serving(authority, host.folder, owned_pool(host.sr), address="127.0.0.9") as impostor:
        host.device_config["volumes"] = impostor
        with pytest.raises(xmlrpc.client.Fault, match="127.0.0.1"):
            host.call("sr_attach")


def test_two_changes_at_once_wait_for_each_other(host: Host, authority: Authority) -> None:
    import fcntl

    with (host.folder / f"shoal-sr-{host.sr}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        timer = threading.Timer(1.0, fcntl.flock, (lock, fcntl.LOCK_UN))
        timer.start()
        started = time.monotonic()
        with pytest.raises(xmlrpc.client.Fault):  # the service does not exist
            host.create()
        assert time.monotonic() - started > 1.0


@pytest.mark.parametrize(("command", "error"), [("vdi_create", VDIUnavailable), ("sr_scan", SRUnavailable)])
def test_a_lock_that_is_kept_too_long_is_told_with_all_who_may_be_away(
    host: Host, monkeypatch: pytest.MonkeyPatch, command: str, error: type[SRError]
) -> None:
    monkeypatch.setattr(locking, "FOLDER", str(host.folder))
    request = {"sr_uuid": host.sr, "device_config": host.device_config}
    call, late = Call(command, request), Call(command, request)
    late.deadline = Deadline(0.2)
    with call.lock(), pytest.raises(error, match="127.0.0.1:1; .*127.0.0.1:6789, 127.0.0.2:6789"), late.lock():
        pass


def test_a_map_that_hangs_is_given_up(host: Host, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    from dom0.shoal_dom0 import datapath

    def block(path: str, data: bytes) -> None:
        time.sleep(60)

    monkeypatch.setattr(datapath, "_write", block)
    started = time.monotonic()
    assert datapath._write_bounded("/dev/null", b"x", Deadline(0.5)) is None
    assert time.monotonic() - started < 2.5


def test_a_service_that_stands_still_is_told_nothing_on_an_open_connection(host: Host, authority: Authority) -> None:
    """It would do it when it goes on, long after another one has done it."""
    from dom0.shoal_dom0.connection import Connection

    told = []

    def answer_once(connection: ssl.SSLSocket) -> None:
        answer(connection, 200, b"{}")
        while data := connection.recv(65536):
            told.append(data.split(b" HTTP")[0])

    with serving(authority, host.folder, answer_once) as service:
        asking = Connection(service, f"{host.folder}/volumes/")
        assert asking.ask("GET", "/v1/first", b"", Deadline(5))[0] == 200
        with pytest.raises(OSError):
            asking.ask("DELETE", "/v1/second", b"", Deadline(1))
        asking.close()
    assert told == [b"GET /v1/alive"]
