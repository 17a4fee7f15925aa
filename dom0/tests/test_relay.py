"""The relay between the driver and a volume service that exists on paper: when it is used, and when it is done without."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dom0.tests.host import Host
from dom0.tests.paper_pool import PaperPool
from dom0.tests.relay_process import RelayProcess, answer, request
from dom0.tests.test_driver_trouble import Behaviour, away, garbage, hang, serving
from tests.ceph.certificates import Authority
from tests.ceph.service import write_client_files

PROBED = '<?xml version="1.0" ?><SRlist></SRlist>'
PATIENCE_S = 2.0
CALLERS_MAX = 16


@pytest.fixture
def pool(tmp_path: Path, authority: Authority) -> Iterator[PaperPool]:
    made = PaperPool(tmp_path, authority, disks=1)
    yield made
    made.stop()


@pytest.fixture
def host(tmp_path: Path, pool: PaperPool, client_files: Path) -> Iterator[Host]:
    """Its driver has certificates."""
    made = Host(tmp_path / "host", client_files, [pool.endpoint])
    yield made
    made.stop()


@pytest.fixture
def bare_host(host: Host) -> Host:
    """Its driver has none: what it gets, it gets by way of the relay."""
    shutil.rmtree(host.folder / "volumes")
    return host


@pytest.fixture
def relay(host: Host, client_files: Path) -> Iterator[RelayProcess]:
    made = RelayProcess(host.folder, client_files)
    yield made
    made.stop()


def test_calls_find_an_open_connection(bare_host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    for _ in range(3):
        assert bare_host.call("sr_probe") == PROBED
    assert (pool.connections, pool.requests) == (1, ["/v1/pools/rbd"] * 3)


def test_a_connection_that_the_service_has_closed_is_made_anew(
    bare_host: Host, pool: PaperPool, relay: RelayProcess
) -> None:
    pool.closes_each = True
    for _ in range(3):
        assert bare_host.call("sr_probe") == PROBED
    assert (pool.connections, len(pool.requests)) == (3, 3)


def test_long_answers_come_without_it(host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    pool.owner = host.sr
    host.call("sr_scan")
    host.call("sr_probe")
    assert pool.connections == 2, "the scan's own, and the relay's"
    assert len(host.toolstack.vdis) == 1


def test_new_certificates_are_used_at_once(
    bare_host: Host, tmp_path: Path, pool: PaperPool, relay: RelayProcess
) -> None:
    """As after `apply` has made a new authority: connections from before are not used, and new ones are trusted."""
    assert bare_host.call("sr_probe") == PROBED
    other = Authority.make("its successor")
    (tmp_path / "other").mkdir()
    successor = PaperPool(tmp_path / "other", other, disks=1)
    write_client_files(other, relay.files)
    try:
        bare_host.device_config["volumes"] = successor.endpoint
        assert bare_host.call("sr_probe") == PROBED
        bare_host.device_config["volumes"] = pool.endpoint
        with pytest.raises(xmlrpc.client.Fault, match="certificates"):
            bare_host.call("sr_probe")  # the old one is not believed any more; by itself this driver can do nothing
    finally:
        successor.stop()
    assert len(pool.requests) == 1


def test_a_relay_that_is_gone_is_done_without(host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    relay.stop()
    assert relay.path.exists(), "a killed one leaves its socket"
    assert host.call("sr_probe") == PROBED
    relay.path.unlink()
    assert host.call("sr_probe") == PROBED
    assert pool.connections == 2


def test_a_relay_that_stands_still_costs_a_known_time(host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    relay.send(signal.SIGSTOP)
    began = time.monotonic()
    assert host.call("sr_probe") == PROBED
    assert PATIENCE_S <= time.monotonic() - began < 2 * PATIENCE_S
    relay.send(signal.SIGCONT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_one_that_fails_in_mid_call_does_no_harm(
    host: Host, tmp_path: Path, authority: Authority, relay: RelayProcess, how: signal.Signals
) -> None:
    """It has the request, and the service has it, too: it comes to the service a second time, directly."""
    asked = []

    def slow_once(connection: object) -> None:
        connection.recv(65536)
        asked.append(time.monotonic())
        if len(asked) == 1:
            relay.send(how)
            time.sleep(4)
        body = json.dumps({"owner": None, "fsid": "x", "total_bytes": 1, "used_bytes": 0}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with serving(authority, tmp_path, slow_once) as service:
        host.device_config["volumes"] = service
        assert host.call("sr_probe") == PROBED
    assert len(asked) == 2
    assert asked[1] - asked[0] < PATIENCE_S + 1


def test_what_nobody_waits_for_is_not_asked(pool: PaperPool, relay: RelayProcess) -> None:
    """A relay that stood still has requests that were made directly since: they must not be done late."""
    gone, late = relay.connect(), relay.connect()
    assert gone.recv(1) == late.recv(1) == b"."
    relay.send(signal.SIGSTOP)
    gone.sendall(request(pool.endpoint))
    gone.close()
    late.sendall(request(pool.endpoint, until=time.monotonic() - 0.1))
    relay.send(signal.SIGCONT)
    assert answer(late)[0] == {"in_time": False, "length": 0}
    with relay.connect() as caller:  # after those
        caller.sendall(request(pool.endpoint, "/v1/pools/last"))
        assert answer(caller)[0]["status"] == 200
    assert pool.requests == ["/v1/pools/last"]


def test_signs_of_life_come_while_a_service_is_slow(tmp_path: Path, authority: Authority, relay: RelayProcess) -> None:
    with serving(authority, tmp_path, hang) as service, relay.connect() as caller:
        caller.sendall(request(service, until=time.monotonic() + 1.8))
        head, body, signs = answer(caller)
    assert (head, body) == ({"in_time": False, "length": 0}, b"")
    assert signs >= 3


@pytest.mark.parametrize("behaviour", [garbage, away, hang], ids=lambda each: each.__name__)
def test_services_in_trouble_are_told_of_as_without_it(
    host: Host, tmp_path: Path, authority: Authority, client_files: Path, relay: RelayProcess, behaviour: Behaviour
) -> None:
    """The same error, and within the same bound."""
    without = Host(tmp_path / "without", client_files, [host.device_config["volumes"]])

    def fault(of: Host) -> tuple[int, str]:
        began = time.monotonic()
        with pytest.raises(xmlrpc.client.Fault) as caught:
            of.call("sr_attach")
        assert time.monotonic() - began < 10.5
        return caught.value.faultCode, caught.value.faultString

    def read_and_behave(connection: ssl.SSLSocket) -> None:  # what was not read could reset the connection
        connection.recv(65536)
        behaviour(connection)

    with serving(authority, tmp_path, read_and_behave) as bad, ThreadPoolExecutor() as threads:
        for each in (host, without):
            each.device_config["volumes"] = f"{bad},127.0.0.1:1"
        faults = list(threads.map(fault, (host, without)))
    without.stop()
    assert faults[0] == faults[1]
    assert faults[0][0] == 47


def test_it_serves_so_many_and_no_more(host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    silent = [relay.connect() for _ in range(CALLERS_MAX)]
    assert {caller.recv(1) for caller in silent} == {b"."}
    with relay.connect() as one_more:
        assert one_more.recv(1) == b""
    assert host.call("sr_probe") == PROBED, "it asks by itself"
    for caller in silent:
        caller.close()
    deadline = time.monotonic() + 5
    while True:
        with relay.connect() as caller:
            if caller.recv(1) == b".":
                break
        assert time.monotonic() < deadline
    assert "a call was not served: cut off" in relay.said()


def test_its_memory_has_a_bound(pool: PaperPool, relay: RelayProcess) -> None:
    body = b"x" * (256 * 1024)
    pool.listing["volumes"] *= 600
    assert 150_000 < len(json.dumps(pool.listing)) < 256 * 1024

    def ask() -> None:
        for target in ("/v1/pools/rbd", "/v1/pools/rbd/volumes") * 4:
            with relay.connect() as caller:
                if caller.recv(1):
                    caller.sendall(request(pool.endpoint, target, body=body if target.endswith("rbd") else b""))
                    answer(caller)

    threads = [threading.Thread(target=ask) for _ in range(CALLERS_MAX)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert relay.status("VmHWM") < 48 * 1024
    assert relay.status("Threads") <= 1 + CALLERS_MAX


NONSENSE = (
    b"\n",
    b"{}\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"[" * 4000 + b"\n",
    b"\xff" * 100,
    b"x" * 100_000,
    request("10.0.0.1:1", "/v1/x HTTP/1.1\r\nX: y"),
    request("10.0.0.1:1", "/etc/passwd"),
    request("/run/xapi:1"),
    request("10.0.0.1:1", until=float("nan")),
    request("10.0.0.1:1", length=-1),
    request("10.0.0.1:1", length=1 << 40),
    request("10.0.0.1:1", method="CONNECT"),
    request("10.0.0.1:1") + b"more",
)


def test_nonsense_ends_a_call_and_nothing_else(bare_host: Host, pool: PaperPool, relay: RelayProcess) -> None:
    for said in NONSENSE:
        with relay.connect() as caller:
            assert caller.recv(1) == b"."
            with contextlib.suppress(OSError):  # it may hang up on what it has not read
                caller.sendall(said)
                caller.shutdown(socket.SHUT_WR)
                while part := caller.recv(1000):
                    assert part.strip(b".") == b"", said[:60]
    assert bare_host.call("sr_probe") == PROBED
    assert "Traceback" not in relay.said()


def test_what_it_says_is_not_believed_blindly(host: Host, pool: PaperPool) -> None:
    """Whatever sits at its socket: the driver asks by itself."""
    for said in (b"", b".", b"x", b"..\n", b".{}\n", b'.{"status": "200"}\n', b'.{"status": 200, "length": 9}\nxx', b".[]\n"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(host.folder / "relay"))
        listener.listen()

        def serve(listener: socket.socket = listener, said: bytes = said) -> None:
            caller, _ = listener.accept()
            caller.sendall(said[:1])
            if said[:1] == b".":
                caller.recv(65536)
            caller.sendall(said[1:])
            caller.close()

        threading.Thread(target=serve, daemon=True).start()
        assert host.call("sr_probe") == PROBED, said
        listener.close()
        (host.folder / "relay").unlink()


def load(name: str) -> object:
    import importlib
    import sys

    folder = str(Path(__file__).resolve().parents[1])
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip(places, places[1:], strict=False) if end > start]


@given(st.binary(max_size=300), st.text(alphabet=[chr(n) for n in range(33, 127)], max_size=60), st.lists(st.integers(0), max_size=5))
def test_a_request_arrives_whole_in_any_pieces(body: bytes, path: str, cuts: list[int]) -> None:
    module = load("shoal_relay.request")
    incoming, found = module.Incoming(), []
    for part in in_pieces(request("10.0.0.1:7443", f"/v1/{path}", body=body, until=7, method="PUT"), cuts):
        assert found == []
        read = incoming.feed(part)
        found += [read] if read is not None else []
    assert found == [("10.0.0.1:7443", "PUT", f"/v1/{path}", 7.0, body)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)
heads = st.fixed_dictionaries(
    {},
    optional={
        "endpoint": st.just("10.0.0.1:7443") | values,
        "method": st.sampled_from(["GET", "PUT"]) | values,
        "target": st.text(max_size=20).map(lambda text: f"/v1/{text}") | values,
        "until": st.floats() | values,
        "length": st.integers(-2, 300_000) | values,
    },
)
lines = heads.map(lambda head: json.dumps(head).encode() + b"\n") | st.binary(max_size=200) | st.just(b"{" * 5000)


@given(lines, st.binary(max_size=50), st.lists(st.integers(0), max_size=4))
def test_anything_else_is_refused_and_nothing_worse(line: bytes, rest: bytes, cuts: list[int]) -> None:
    module = load("shoal_relay.request")
    incoming = module.Incoming()
    try:
        for part in in_pieces(line + rest, cuts):
            read = incoming.feed(part)
            if read is not None:
                assert read.target.startswith("/v1/") and read.target.isascii() and read.target.isprintable()
                assert " " not in read.target and read.method in module.METHODS
                assert 0 <= read.until < float("inf")
                return
    except ValueError:
        pass


def test_a_short_call_imports_little() -> None:
    """What takes longer to import than a call takes: with a relay none of it is needed."""
    folder = Path(__file__).resolve().parents[1]
    modules = "protocol, log, driver, vdi, snapshots, sr, volumes_client, xapi"
    script = f"import sys; sys.path.insert(0, {str(folder)!r}); from shoal_dom0 import {modules}; print(*sys.modules)"
    done = subprocess.run(["python3", "-IS", "-c", script], capture_output=True, text=True, check=True)
    heavy = {"ssl", "socket", "json", "re", "enum", "collections", "contextlib", "selectors", "functools", "subprocess"}
    assert heavy & set(done.stdout.split()) == set()
