"""The volume service when Ceph stops answering, and when clients misbehave. Each test mends what it breaks."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30


@pytest.fixture
def fresh(service: Service) -> Iterator[Service]:
    """A service of its own, as started just now."""
    made = Service(service.cluster, service.files, service.authority)
    made.start()
    yield made
    made.kill()


def test_with_the_osds_away_calls_end_and_later_work_again(service: Service) -> None:
    volume = str(uuid.uuid4())
    path = f"pools/rbd/volumes/{volume}"
    assert service.ask("PUT", path, {"size_bytes": GIB})[0] == 200
    service.cluster.kill_daemon("osd")
    started = time.monotonic()
    status, answer = service.ask("GET", path)
    assert (status, answer["error"]["code"]) in ((503, "ceph_away"), (504, "timeout"))
    assert time.monotonic() - started < 14
    service.cluster.restart_daemon("osd")
    service.cluster.wait_for(lambda: service.ask("GET", path)[0] == 200, 40, "the OSD to answer again")
    assert service.ask("DELETE", path)[0] == 200


def test_it_starts_without_monitors_and_connects_once_they_are_there(service: Service) -> None:
    service.cluster.kill_daemon("mon")
    made = Service(service.cluster, service.files, service.authority)
    try:
        made.start()
        started = time.monotonic()
        status, answer = made.ask("GET", "status")
        assert (status, answer["error"]["code"]) == (503, "ceph_away")
        assert time.monotonic() - started < 13
        service.cluster.restart_daemon("mon")
        service.cluster.wait_for(lambda: made.ask("GET", "status")[0] == 200, 40, "the monitor to answer again")
    finally:
        if "mon" not in service.cluster.running():
            service.cluster.restart_daemon("mon")
        made.kill()


def test_a_connection_that_was_fenced_is_replaced(fresh: Service) -> None:
    assert fresh.ask("GET", "pools/rbd/volumes")[0] == 200
    cluster = fresh.cluster
    held = cluster.rbd("create", "--size", "1M", "rbd/fence") or "rbd/fence"
    # Blocklist the whole address for a moment: every client of this machine, the service too, is shut out.
    cluster.ceph("osd", "blocklist", "add", f"{cluster.address}:0/0", "2")
    time.sleep(4)
    cluster.wait_for(lambda: fresh.ask("GET", "pools/rbd/volumes")[0] == 200, 30, "a new connection")
    cluster.rbd("rm", held)


def test_clients_that_say_nothing_block_nobody(fresh: Service) -> None:
    address = (fresh.cluster.address, fresh.port)
    silent = [socket.create_connection(address, timeout=5) for _ in range(30)]
    try:
        started = time.monotonic()
        assert fresh.ask("GET", "pools/rbd/volumes")[0] == 200
        assert time.monotonic() - started < 5
    finally:
        for connection in silent:
            connection.close()


def test_too_many_connections_are_closed_and_room_comes_back(fresh: Service) -> None:
    address = (fresh.cluster.address, fresh.port)
    crowd = [socket.create_connection(address, timeout=5) for _ in range(80)]
    for connection in crowd:
        connection.close()
    fresh.cluster.wait_for(lambda: answers(fresh), 20, "room for a connection")


def answers(service: Service) -> bool:
    try:
        return service.ask("GET", "pools/rbd/volumes")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("head", [b"Content-Length: 99999999", b"Content-Length: -1", b"Transfer-Encoding: chunked"])
def test_a_body_of_unknown_or_huge_length_is_refused(service: Service, head: bytes) -> None:
    connection = service.connect()
    connection.connect()
    connection.sock.sendall(b"PUT /v1/pools/rbd/owner HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert connection.sock.recv(64).startswith(b"HTTP/1.1 400")
    connection.close()
