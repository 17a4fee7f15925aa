"""The driver while Ceph, a monitor, the manager or this host's volume service is away, or while the pool is full.

Real services and a real Ceph; each test mends what it breaks. Services that lie are in test_driver_trouble.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
import uuid
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dom0.tests.host import Host
from tests.ceph.dialog import Inside
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30
NEW_DISK = (str(GIB), "disk", "", "OpaqueRef:NULL", "false", "19700101T00:00:00Z", "", "false")
AFTER_THE_HEADER = 4  # of what making a disk changes
SLACK_S = 1.5  # beside what the interpreter's start takes, when all of them start at once
# What needs Ceph, with its arguments and the seconds that it may take.
SR_CALLS = {"sr_create": (("0",), 9), "sr_attach": ((), 9), "sr_probe": ((), 9), "sr_delete": ((), 9)}
LONG_SR_CALLS = {"sr_update": ((), 30), "sr_scan": ((), 45)}
VDI_CALLS = {
    "vdi_create": (NEW_DISK, 30),
    "vdi_delete": ((), 30),
    "vdi_resize": ((str(2 * GIB),), 30),
    "vdi_update": ((), 30),
    "vdi_introduce": ((), 30),
    "vdi_activate": (("true",), 30),
    "vdi_snapshot": ((), 30),
    "vdi_clone": ((), 30),
    "vdi_epoch_begin": ((), 30),
    "vdi_enable_cbt": ((), 30),
    "vdi_disable_cbt": ((), 30),
}
# About a snapshot, and with another record as the argument, where they have one.
SNAPSHOT_CALLS = {"vdi_revert": 30, "vdi_data_destroy": 30, "vdi_list_changed_blocks": 120}
NO_CEPH_NEEDED = {"vdi_attach": ("true",), "vdi_deactivate": (), "vdi_detach": (), "sr_detach": ()}


@dataclasses.dataclass(frozen=True)
class Disks:
    """What was given up may be done all the same once Ceph is back: so another disk is the one to be deleted."""

    plain: str
    mapped: str
    doomed: str
    tracked: str
    older: str
    newer: str


def make_disks(host: Host) -> Disks:
    plain, mapped, doomed, tracked = (host.create() for _ in range(4))
    host.set_cbt(tracked, enabled=True)
    return Disks(plain, mapped, doomed, tracked, host.snapshot(tracked), host.snapshot(tracked))


@pytest.fixture
def second(service: Service) -> Iterator[Service]:
    """Another storage VM's service."""
    made = Service(service.cluster, service.files, service.authority)
    made.start()
    yield made
    made.kill()


def timed(host: Host, command: str, disk: str, arguments: tuple[str, ...]) -> tuple[float, xmlrpc.client.Fault | None]:
    """Seconds of a call, and its fault."""
    began = time.monotonic()
    keys: dict[str, Any] = {"vdi_sm_config": {}, "vdi_type": "user", "new_uuid": disk, "driver_params": {}}
    keys["vdi_on_boot"] = "reset"
    try:
        about = None if command.startswith("sr_") or command == "vdi_create" else disk
        host.call(command, about, args=arguments, **keys)
    except xmlrpc.client.Fault as fault:
        return time.monotonic() - began, fault
    return time.monotonic() - began, None


def check_all_end_in_time(host: Host, disks: Disks, services: list[str]) -> None:
    """All that need Ceph, at once: each ends within its bound and says who was asked in vain."""
    calls = {name: (disks.plain, *call) for name, call in {**SR_CALLS, **LONG_SR_CALLS, **VDI_CALLS}.items()}
    calls["vdi_delete"] = (disks.doomed, (), 30)
    for name, bound_s in SNAPSHOT_CALLS.items():
        about = host.toolstack.ref(disks.newer if name == "vdi_list_changed_blocks" else disks.tracked)
        calls[name] = (disks.older, (about,), bound_s)
    with ThreadPoolExecutor(len(calls) + 1) as threads:
        start = threads.submit(timed, host, "sr_get_driver_info", disks.plain, ())
        jobs = {name: threads.submit(timed, host, name, disk, given) for name, (disk, given, _) in calls.items()}
    for name, job in jobs.items():
        seconds, fault = job.result()
        assert seconds < calls[name][2] + SLACK_S + 2 * start.result()[0], f"{name} took {seconds:.1f} s"
        assert fault is not None, f"{name} succeeded without Ceph"
        assert fault.faultCode == (47 if name.startswith("sr_") else 46), f"{name}: {fault}"
        for said in (*services, *host.device_config["monitors"].split(",")):
            assert said in fault.faultString, f"{name} does not name {said}: {fault.faultString}"


@pytest.mark.parametrize("daemons", [("osd",), ("mon", "osd")], ids="+".join)
def test_without_ceph_every_call_ends_in_time_and_afterwards_works(
    host: Host, service: Service, second: Service, daemons: tuple[str, ...]
) -> None:
    disks = make_disks(host)
    disk, mapped = disks.plain, disks.mapped
    host.call("vdi_activate", mapped, args=("false",))
    services = [service.endpoint, second.endpoint]
    host.device_config["volumes"] = ",".join(services)
    for name in daemons:
        service.cluster.kill_daemon(name)
    try:
        for name, arguments in NO_CEPH_NEEDED.items():
            assert timed(host, name, mapped, arguments)[1] is None, f"{name} needs no Ceph"
        check_all_end_in_time(host, disks, services)
        assert len(host.toolstack.vdis) == 6
    finally:
        for name in daemons:
            service.cluster.restart_daemon(name)
    service.cluster.wait_for(lambda: timed(host, "sr_scan", disk, ())[1] is None, 60, "the driver to work again")
    assert {disk, mapped} <= {record["uuid"] for record in host.toolstack.vdis.values()}
    host.call("vdi_activate", disk, args=("true",))
    host.call("vdi_detach", disk)


def test_a_call_survives_the_death_of_this_hosts_service(host: Host, service: Service, second: Service) -> None:
    """It dies while the request is with it: stopped first, so that it has the request and does not answer."""
    host.device_config["volumes"] = f"{service.endpoint},{second.endpoint}"
    (host.folder / "host.json").write_text(f'{{"volume_service": "{second.endpoint}"}}')
    assert second.process is not None
    (child,) = Path(f"/proc/{second.process.pid}/task/{second.process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    timer = threading.Timer(1.0, second.kill)
    timer.start()
    began = time.monotonic()
    made = host.create()
    assert 0.9 < time.monotonic() - began < 10, "this host's own service was not asked first"
    timer.join()
    assert service.ask("GET", f"pools/rbd/volumes/{made}")[0] == 200


def test_the_active_manager_is_not_needed(host: Host, service: Service) -> None:
    service.cluster.kill_daemon("mgr")
    try:
        host.call("sr_attach")
        disk = host.create()
        host.call("vdi_resize", disk, args=(str(2 * GIB),))
        host.call("sr_scan")
        host.call("sr_update")
        host.call("vdi_delete", disk)
    finally:
        service.cluster.restart_daemon("mgr")


@pytest.fixture
def full_pool(service: Service) -> Iterator[None]:
    """The pool has reached its quota. Ceph notices after some seconds, by the manager's count."""
    cluster = service.cluster
    filler = f"filler-{uuid.uuid4()}"
    cluster.rbd("create", "--size", "16M", f"rbd/{filler}")
    cluster.rbd("bench", "--io-type", "write", "--io-size", "1M", "--io-total", "8M", f"rbd/{filler}")
    cluster.ceph("osd", "pool", "set-quota", "rbd", "max_bytes", "1024")
    try:
        cluster.wait_for(lambda: is_full(service), 60, "Ceph to notice that the pool is full")
        yield
    finally:
        cluster.ceph("osd", "pool", "set-quota", "rbd", "max_bytes", "0")
        cluster.wait_for(lambda: not is_full(service), 60, "Ceph to lift the quota")
        cluster.rbd("rm", f"rbd/{filler}")


def is_full(service: Service) -> bool:
    """Whether the monitors say so of a pool."""
    dump = service.guest.do("command", arguments={"prefix": "osd dump"})
    return any("full_quota" in pool["flags_names"] for pool in dump["pools"])


def has_room(service: Service) -> bool:
    """Whether a disk can be made. One that was is taken away again."""
    path = f"pools/rbd/volumes/{uuid.uuid4()}"
    made = service.ask("PUT", path, {"size_bytes": GIB})[0] == 200
    service.ask("DELETE", path)
    return made


def test_a_full_pool_is_no_space_at_once_and_corrupts_nothing(
    host: Host, service: Service, request: pytest.FixtureRequest
) -> None:
    disk, grown, doomed = host.create(name="kept"), host.create(name="grown"), host.create(name="doomed")
    guest, image = Inside(service.cluster), f"vdi-{grown}"
    guest.do("hold", image=image)
    guest.do("write_held", image=image, blocks={0: "a", 1: "b", 640: "c"})
    request.getfixturevalue("full_pool")
    service.cluster.wait_for(lambda: not has_room(service), 30, "the OSD to hear that the pool is full")
    guest.begin("write_held", image=image, blocks={1: "d", 1280: "d"})  # to what is there, and where nothing is yet
    for _ in range(2):
        seconds, fault = timed(host, "vdi_create", disk, NEW_DISK)
        assert fault is not None and fault.faultCode == 44, fault
        assert seconds < 5, f"it took {seconds:.1f} s to say so"
    path = f"pools/rbd/volumes/{uuid.uuid4()}"
    standing, late = ask_until_refused(service, path)
    before = service.guest.do("read", image=image, blocks=[0, 1, 640, 1280])
    assert before == {"0": "a", "1": "b", "640": "c", "1280": ""}, "what waits has changed something"
    # What frees space or changes nothing works: a person must be able to clean up.
    host.call("vdi_delete", doomed)
    host.call("sr_scan")
    host.call("vdi_activate", disk, args=("false",))
    host.call("vdi_detach", disk)
    assert {record["name_label"] for record in host.toolstack.vdis.values()} == {"kept", "grown"}
    service.cluster.ceph("osd", "pool", "set-quota", "rbd", "max_bytes", "0")
    service.cluster.wait_for(
        lambda: timed(host, "vdi_create", disk, NEW_DISK)[1] is None, 60, "room for a disk when the quota is lifted"
    )
    guest.answer()
    guest.do("let_go", image=image)
    guest.stop()
    after = service.guest.do("read", image=image, blocks=[0, 1, 640, 1280])
    assert after == {"0": "a", "1": "d", "640": "c", "1280": "d"}
    # Another service makes the disk while the one that was refused still stands there.
    assert service.ask("PUT", path, {"size_bytes": GIB})[0] == 200
    standing.go_on()
    assert late.result()[0] == 507
    standing.kill()
    assert service.ask("GET", path)[0] == 200
    host.call("vdi_resize", grown, args=(str(2 * GIB),))
    host.call("sr_scan")
    assert len(host.toolstack.vdis) == len(service.ask("GET", "pools/rbd/volumes")[1]["volumes"]) == 4


def ask_until_refused(service: Service, path: str) -> tuple[Service, Future[Any]]:
    """A service that stands still at the next change after Ceph has refused it a disk's header, or has answered."""
    made = Service(service.cluster, service.files, service.authority)
    made.start(stopping_at=AFTER_THE_HEADER)
    asked = ThreadPoolExecutor(1).submit(made.ask, "PUT", path, {"size_bytes": GIB})
    service.cluster.wait_for(lambda: asked.done() or made.has_stopped(), 20, "it to stand still or to answer")
    return made, asked
