"""The relay before a real volume service and a real Ceph: the same results with it, and when it fails in mid-call."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_dom0.connection import CONNECT_TIMEOUT_S
from dom0.tests.host import Host
from dom0.tests.pool import empty_pool
from dom0.tests.relay_process import RelayProcess, answer, request
from dom0.tests.test_driver_trouble import serving
from tests.ceph.certificates import Authority
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30
NOBODY = 65534
NEAR, FAR = "198.18.77.1/30", "198.18.77.2"
CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1))"


@pytest.fixture
def relay(host: Host, service: Service) -> Iterator[RelayProcess]:
    made = RelayProcess(host.folder, service.files)
    yield made
    made.stop()


def live(host: Host) -> None:
    """Each of the short calls that asks a volume service."""
    host.call("sr_attach")
    disk = host.create(name="disk")
    host.call("vdi_activate", disk, args=("true",))
    host.call("vdi_deactivate", disk)
    snapshot = host.snapshot(disk)
    clone = host.clone(snapshot)
    host.call("vdi_resize", disk, args=(str(2 * GIB),))
    host.call("vdi_revert", snapshot, args=(host.toolstack.ref(disk),))
    host.call("vdi_resize", clone, args=(str(3 * GIB),))
    host.create(name="doomed")
    host.call("vdi_delete", host.clone(disk))


def left(service: Service, host: Host) -> list[Any]:
    """What is there, without what is another each time."""
    _, listing = service.ask("GET", "pools/rbd/volumes")
    entries = [(kind, each["size_bytes"], each["metadata"]) for kind in ("volumes", "snapshots") for each in listing[kind]]
    for _, _, metadata in entries:
        metadata.pop("snapshot_time", None)
    records = [(each["name_label"], each["virtual_size"], each["is_a_snapshot"]) for each in host.toolstack.vdis.values()]
    return [sorted(map(str, entries)), sorted(map(str, records)), service.ask("GET", "pools/rbd/owner")[1]]


def test_a_disks_life_leaves_the_same_with_and_without(host: Host, service: Service) -> None:
    live(host)
    without = left(service, host)
    empty_pool(service)
    host.toolstack.vdis.clear()
    service.ask("PUT", "pools/rbd/owner", {"sr": host.sr})
    relay = RelayProcess(host.folder, service.files)
    try:
        shutil.move(host.folder / "volumes", host.folder / "away")  # so that nothing can go another way
        live(host)
    finally:
        relay.stop()
        shutil.move(host.folder / "away", host.folder / "volumes")
    assert left(service, host) == without
    host.call("sr_scan")
    assert left(service, host) == without


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_a_relay_that_fails_in_mid_call_leaves_one_disk(
    host: Host, service: Service, relay: RelayProcess, how: signal.Signals
) -> None:
    """The service has the request from both, and serves it when it goes on."""
    assert service.process is not None
    (child,) = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    host.call("sr_attach")
    os.kill(int(child), signal.SIGSTOP)
    timers = [
        threading.Timer(1.0, relay.send, (how,)),
        threading.Timer(4.0 if how == signal.SIGSTOP else 2.0, os.kill, (int(child), signal.SIGCONT)),
    ]
    for timer in timers:
        timer.start()
    began = time.monotonic()
    disk = host.create()
    assert 1.9 < time.monotonic() - began < 10
    for timer in timers:
        timer.join()
    assert [volume["id"] for volume in service.ask("GET", "pools/rbd/volumes")[1]["volumes"]] == [disk]
    host.call("vdi_delete", disk)
    if how == signal.SIGSTOP:
        relay.send(signal.SIGCONT)
    time.sleep(0.5)
    assert service.ask("GET", "pools/rbd/volumes")[1]["volumes"] == []
    host.create()


def test_a_service_that_stands_still_is_told_nothing(host: Host, service: Service, relay: RelayProcess) -> None:
    """On the open connection it would find the request when it goes on, long after another service has done it."""
    assert service.process is not None
    (child,) = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    host.call("sr_attach")
    disk = host.create()
    os.kill(int(child), signal.SIGSTOP)
    try:
        with pytest.raises(xmlrpc.client.Fault):
            host.call("vdi_resize", disk, args=(str(2 * GIB),))
    finally:
        os.kill(int(child), signal.SIGCONT)
    time.sleep(1)
    assert [volume["size_bytes"] for volume in service.ask("GET", "pools/rbd/volumes")[1]["volumes"]] == [GIB]


def test_nobody_but_its_own_user_may_ask(service: Service) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        relay = RelayProcess(folder, service.files)

        def ask(**keys: Any) -> subprocess.CompletedProcess[str]:
            argv = ["/usr/bin/python3", "-IS", "-c", CONNECT, str(relay.path)]
            return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, **keys)

        try:
            assert ask().stdout == "b'.'\n"
            folder.chmod(0o755)
            assert relay.path.stat().st_mode & 0o777 == 0o600
            assert "PermissionError" in ask(user=NOBODY).stderr
            relay.path.chmod(0o666)
            assert ask(user=NOBODY).stdout == "b''\n"
            assert ask().stdout == "b'.'\n"
        finally:
            relay.stop()


@contextmanager
def far_away() -> Iterator[tuple[socket.socket, Callable[[], object]]]:
    """A socket that listens on another machine, so to say, and what pulls out that machine's cable."""
    name = f"shoal-{os.getpid()}"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, timeout=20)

    def listen() -> socket.socket:
        with open(f"/run/netns/{name}") as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) == 0  # this thread's alone
        return socket.create_server((FAR, 0))

    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "cable", "netns", name)
        ip("address", "add", NEAR, "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "address", "add", f"{FAR}/30", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        with ThreadPoolExecutor(1) as thread:
            listener = thread.submit(listen).result()
        yield listener, lambda: ip("-n", name, "link", "set", "cable", "down")
    finally:
        ip("link", "delete", name)  # the namespace itself lives on while a socket in it does
        ip("netns", "delete", name)


def test_a_dead_peer_is_noticed_in_the_time_of_a_connect(
    tmp_path: Path, authority: Authority, client_files: Path
) -> None:
    """On a connection that is kept, which nobody has closed. The caller has other services to ask."""
    relay, both = RelayProcess(tmp_path, client_files), threading.Barrier(2)

    def reply(connection: ssl.SSLSocket) -> None:
        while connection.recv(65536):
            both.wait(10)  # so that two that ask at once need two connections
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def ask(method: str) -> tuple[dict[str, Any], float]:
        with relay.connect(timeout_s=30) as caller:
            began = time.monotonic()
            caller.sendall(request(peer, method=method, until=began + 20))
            return answer(caller)[0], time.monotonic() - began

    with far_away() as (listener, cut), ThreadPoolExecutor(2) as threads:
        with serving(authority, tmp_path, reply, address=FAR, at=listener) as peer:
            assert [head.get("status") for head, _ in threads.map(ask, ("GET", "GET"))] == [200, 200]
            cut()
            (read, read_s), (change, change_s) = threads.map(ask, ("GET", "PUT"))
    relay.stop()
    assert "status" not in read and "status" not in change  # by time-out, or as unreachable: the kernel may say either
    assert max(read_s, change_s) < 2 * CONNECT_TIMEOUT_S
