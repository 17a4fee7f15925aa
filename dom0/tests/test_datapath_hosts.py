"""Disks between hosts, with locks, watches and blocklists of a real Ceph. Each map is a client of its own.

The kernel's own taking of a dead host's lock is shown in the lab; here librbd does it by the same rule.
"""

from __future__ import annotations

import json
import time
import uuid
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.ceph_kernel import Agent, CephKernel
from dom0.tests.host import Host
from tests.ceph.cluster import Cluster
from tests.ceph.fixtures import WATCH_TIMEOUT_S
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph


class CephHost(Host):
    """A host whose maps are real clients, which die when it does."""

    def __init__(self, folder: Path, service: Service, first: CephHost | None = None) -> None:
        self.cluster = service.cluster
        self.agent, self.is_on = Agent(service.cluster), True
        shared = first.toolstack if first else None
        services = [service.endpoint]
        super().__init__(folder, service.files, services, kernel=self._make_kernel, toolstack=shared)
        if first:
            self.sr = first.sr

    def _make_kernel(self, folder: Path) -> CephKernel:
        return CephKernel(folder, self.agent)

    def activate(self, disk: str, *, writable: bool = True) -> None:
        self.call("vdi_attach", disk, args=(str(writable).lower(),))
        self.call("vdi_activate", disk, args=(str(writable).lower(),))

    def refused(self, disk: str) -> str:
        with pytest.raises(xmlrpc.client.Fault) as caught:
            self.call("vdi_activate", disk, args=("true",))
        assert caught.value.faultCode == 46
        return caught.value.faultString

    def die(self) -> None:
        """Power gone: its clients say nothing any more, and its kernel knows nothing after the start."""
        self.power_off()
        assert isinstance(self.kernel, CephKernel)
        self.kernel.crash()

    def power_off(self) -> None:
        if self.is_on:
            self.agent.kill(self.cluster)
        self.is_on = False

    def leave(self) -> None:
        """In order: whatever a killed client has had open would count as in use until Ceph notices."""
        if self.is_on:
            assert isinstance(self.kernel, CephKernel)
            for token in self.kernel.tokens.values():
                self.agent.ask("unmap", token=token)
            self.agent.stop()
        self.is_on = False

    def come_back(self, uptime_s: float) -> None:
        self.agent, self.is_on = Agent(self.cluster), True
        assert isinstance(self.kernel, CephKernel)
        self.kernel.agent = self.agent
        (self.folder / "uptime").write_text(f"{uptime_s} 1.0\n")

    def maps(self) -> list[tuple[str, str, bool]]:
        assert isinstance(self.kernel, CephKernel)
        return self.kernel.mapped()

    def write(self, disk: str, text: str) -> None:
        assert isinstance(self.kernel, CephKernel)
        self.agent.ask("write", token=self.kernel.token(f"vdi-{disk}"), text=text)

    def read(self, image: str) -> str:
        assert isinstance(self.kernel, CephKernel)
        return str(self.agent.ask("read", token=self.kernel.token(image))["text"])


@pytest.fixture
def hosts(service: Service, short_watches: None, tmp_path: Path) -> Iterator[tuple[CephHost, CephHost]]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = CephHost(tmp_path / "a", service)
    second = CephHost(tmp_path / "b", service, first)
    service.ask("PUT", "pools/rbd/owner", {"sr": first.sr})
    yield first, second
    for host in (first, second):
        host.leave()
        host.kernel.stop()
    first.toolstack.stop()
    service.guest.do("command", arguments={"prefix": "osd blocklist clear"})
    service.cluster.wait_for(lambda: clean_up(service), 20, "the disks of the test to be free")
    service.ask("DELETE", "pools/rbd/owner", {"sr": first.sr})


def clean_up(service: Service) -> bool:
    _, listing = service.ask("GET", "pools/rbd/volumes")
    for snapshot in listing["snapshots"]:
        service.ask("DELETE", f"pools/rbd/snapshots/{snapshot['location']}")
    answers = [service.ask("DELETE", f"pools/rbd/volumes/{volume['id']}") for volume in listing["volumes"]]
    return all(status == 200 for status, _ in answers)


def blocklisted(service: Service) -> list[str]:
    """The nonces of the addresses that Ceph has shut out: what is the same for a client in all forms of its address."""
    entries = service.guest.do("command", arguments={"prefix": "osd blocklist ls"})  # a list of ranges follows
    return [nonce(entry["addr"]) for entry in entries]


def owner_address(service: Service, disk: str) -> str:
    _, holders = service.ask("GET", f"pools/rbd/volumes/{disk}/holders")
    return str(holders["locks"][0]["address"])


def nonce(address: str) -> str:
    return address.rpartition("/")[2]


def wait_until_dead(service: Service, disk: str) -> None:
    def dead() -> bool:
        _, holders = service.ask("GET", f"pools/rbd/volumes/{disk}/holders")
        return not any(lock["alive"] for lock in holders["locks"])

    service.cluster.wait_for(dead, 3 * WATCH_TIMEOUT_S, "Ceph to drop the dead host's watch")


def test_a_live_migration_hands_the_disk_over(hosts: tuple[CephHost, CephHost]) -> None:
    source, target = hosts
    disk = source.create()
    source.activate(disk)
    source.write(disk, "from the source")
    target.call("vdi_attach", disk, args=("true",))
    assert target.maps() == []
    assert "in use for writing by the host at 127.0.0.1" in target.refused(disk)
    assert target.kernel.lines == []  # its kernel was not even asked
    source.write(disk, "to the last moment")
    source.call("vdi_deactivate", disk)
    target.call("vdi_activate", disk, args=("true",))
    source.call("vdi_detach", disk)
    assert target.read(f"vdi-{disk}") == "to the last moment"
    target.write(disk, "from the target")
    assert (source.maps(), target.maps()) == ([], [(f"vdi-{disk}", "-", True)])


def test_a_migration_that_fails_leaves_the_source_writing(hosts: tuple[CephHost, CephHost]) -> None:
    source, target = hosts
    disk = source.create()
    source.activate(disk)
    target.call("vdi_attach", disk, args=("true",))
    target.refused(disk)
    target.call("vdi_detach", disk)
    source.write(disk, "still here")
    source.call("vdi_activate", disk, args=("true",))
    assert len(source.kernel.lines) == 1


def test_a_dead_hosts_disk_is_taken_once_it_is_blocklisted(hosts: tuple[CephHost, CephHost], service: Service) -> None:
    dead, heir = hosts
    disk = dead.create()
    dead.activate(disk)
    dead.write(disk, "its last words")
    address = owner_address(service, disk)
    dead.die()
    heir.refused(disk)
    assert heir.kernel.lines == []
    assert nonce(address) not in blocklisted(service)
    wait_until_dead(service, disk)
    heir.activate(disk)
    assert nonce(address) in blocklisted(service)
    assert heir.read(f"vdi-{disk}") == "its last words"


def test_a_live_hosts_disk_is_never_taken(hosts: tuple[CephHost, CephHost], service: Service) -> None:
    holder, other = hosts
    disk = holder.create()
    holder.activate(disk)
    end = time.monotonic() + 1.5 * WATCH_TIMEOUT_S
    while time.monotonic() < end:
        other.refused(disk)
    assert other.kernel.lines == []
    assert nonce(owner_address(service, disk)) not in blocklisted(service)
    holder.write(disk, "undisturbed")


def test_a_host_that_was_cut_off_and_fenced_makes_its_map_anew(
    hosts: tuple[CephHost, CephHost], service: Service
) -> None:
    cut_off, heir = hosts
    disk = cut_off.create()
    cut_off.activate(disk)
    service.cluster.ceph("osd", "blocklist", "add", owner_address(service, disk))
    wait_until_dead(service, disk)
    heir.activate(disk)
    heir.write(disk, "written meanwhile")
    assert cut_off.maps() == [(f"vdi-{disk}", "-", True)]  # it does not know yet
    cut_off.refused(disk)
    assert cut_off.maps() == []
    heir.call("vdi_deactivate", disk)
    cut_off.call("vdi_activate", disk, args=("true",))
    assert cut_off.read(f"vdi-{disk}") == "written meanwhile"


def test_a_host_that_starts_again_waits_for_its_own_past(hosts: tuple[CephHost, CephHost], service: Service) -> None:
    host, _ = hosts
    disk = host.create()
    host.activate(disk)
    host.die()
    host.come_back(uptime_s=3)
    host.activate(disk)
    assert host.maps() == [(f"vdi-{disk}", "-", True)]


def test_who_has_just_started_waits_and_takes_nothing_from_the_living(
    hosts: tuple[CephHost, CephHost], service: Service
) -> None:
    """Both have one address here, as behind NAT: what looks like the own past is another host."""
    holder, started = hosts
    disk = holder.create()
    holder.activate(disk)
    (started.folder / "uptime").write_text("3.0 1.0\n")
    before = time.monotonic()
    started.refused(disk)
    assert time.monotonic() - before > WATCH_TIMEOUT_S
    assert started.kernel.lines == []
    holder.write(disk, "undisturbed")


def test_a_snapshot_is_read_on_several_hosts_while_its_disk_is_written(hosts: tuple[CephHost, CephHost]) -> None:
    writer, reader = hosts
    disk = writer.create()
    writer.activate(disk)
    writer.write(disk, "then")
    snapshot = writer.snapshot(disk)
    writer.write(disk, "now")
    for host in (reader, writer):
        host.activate(snapshot, writable=False)
        host.activate(snapshot, writable=False)
    (made,) = reader.maps()
    assert made == (f"vdi-{disk}", f"snap-{snapshot}", False)
    assert reader.read(f"snap-{snapshot}") == "then"
    options = reader.kernel.lines[0].split(" ")[1].split(",")
    assert "ro" in options and "exclusive" not in options
    assert len(reader.kernel.lines) == 1
    writer.call("vdi_deactivate", snapshot)
    assert writer.maps() == [(f"vdi-{disk}", "-", True)]
    writer.write(disk, "later")


def test_a_snapshots_map_is_found_when_its_disk_is_gone(hosts: tuple[CephHost, CephHost]) -> None:
    host, other = hosts
    disk = host.create()
    snapshot = host.snapshot(disk)
    other.activate(snapshot, writable=False)
    host.call("vdi_delete", disk)
    host.activate(snapshot, writable=False)
    ((image, snap, _),) = host.maps()
    assert image.startswith("base-") and snap == f"snap-{snapshot}"
    for at in (other, host):
        at.call("vdi_deactivate", snapshot)
        at.call("vdi_detach", snapshot)
        assert at.maps() == []


def test_a_map_of_what_a_disk_was_before_a_revert_is_stale(hosts: tuple[CephHost, CephHost], service: Service) -> None:
    """Reading alone keeps nobody from reverting the disk: the kernel does not watch an image that it only reads."""
    host, _ = hosts
    disk = host.create()
    snapshot = host.snapshot(disk)
    ids = []
    for _ in range(2):
        _, holders = service.ask("GET", f"pools/rbd/volumes/{disk}/holders")
        ids.append(holders["image_id"])
        host.kernel.image_ids[f"vdi-{disk}"] = holders["image_id"]  # as the kernel shows it
        host.activate(disk, writable=False)
        host.activate(disk, writable=False)
        host.call("vdi_revert", snapshot, args=(host.toolstack.ref(disk),))
    assert ids[0] != ids[1]
    assert len(host.kernel.lines) == 2
    assert len(host.maps()) == 1


@pytest.mark.parametrize("writable", [True, False])
def test_another_image_under_the_disks_name_is_given_to_nobody(
    hosts: tuple[CephHost, CephHost], service: Service, writable: bool
) -> None:
    """The kernel looks at the object rbd_id.… alone. Here it names the image of another disk: one from before a revert
    may be cleared away at any moment, and the object with it.
    """
    host, _ = hosts
    disk, other = host.create(), host.create()
    name = f"rbd_id.vdi-{disk}"
    now, others = (service.guest.do("get_object", object=f"rbd_id.vdi-{each}") for each in (disk, other))
    _, holders = service.ask("GET", f"pools/rbd/volumes/{other}/holders")
    service.guest.do("put_object", object=name, text=others)
    with pytest.raises(xmlrpc.client.Fault, match=f"found image {holders['image_id']} under") as caught:
        host.activate(disk, writable=writable)
    assert caught.value.faultCode == 46
    assert host.maps() == []
    service.guest.do("put_object", object=name, text=now)
    host.activate(disk, writable=writable)
    assert len(host.maps()) == 1


def test_a_disk_half_way_back_is_given_to_nobody(hosts: tuple[CephHost, CephHost], service: Service) -> None:
    host, _ = hosts
    disk = host.create()
    service.ask("PUT", f"pools/rbd/volumes/{disk}/reset_point")
    service.cluster.rbd("image-meta", "set", f"rbd/vdi-{disk}", "shoal.mark.rolls_back", "a service that died")
    for writable in (True, False):
        with pytest.raises(xmlrpc.client.Fault, match="half-way back") as caught:
            host.activate(disk, writable=writable)
        assert caught.value.faultCode == 46
    assert host.maps() == []
    host.call("vdi_epoch_begin", disk)
    host.activate(disk)


def test_a_snapshot_is_not_given_for_writing(hosts: tuple[CephHost, CephHost]) -> None:
    host, _ = hosts
    snapshot = host.snapshot(host.create())
    for command in ("vdi_attach", "vdi_activate"):
        with pytest.raises(xmlrpc.client.Fault, match="can only be read") as caught:
            host.call(command, snapshot, args=("true",))
        assert caught.value.faultCode == 46
    assert host.maps() == []


def test_a_snapshot_without_data_is_not_given(hosts: tuple[CephHost, CephHost]) -> None:
    host, _ = hosts
    snapshot = host.snapshot(host.create())
    host.destroy_data(snapshot)
    with pytest.raises(xmlrpc.client.Fault, match="has been destroyed"):
        host.call("vdi_activate", snapshot, args=("false",))


def test_a_snapshot_that_is_gone_is_said(hosts: tuple[CephHost, CephHost]) -> None:
    host, _ = hosts
    snapshot = host.snapshot(host.create())
    location = host.location(snapshot)
    host.call("vdi_delete", snapshot)
    with pytest.raises(xmlrpc.client.Fault) as caught:
        host.call("vdi_activate", str(uuid.uuid4()), args=("false",), vdi_location=location)
    assert caught.value.faultCode == 144


def test_detaching_the_sr_unmaps_forgotten_snapshots(hosts: tuple[CephHost, CephHost]) -> None:
    host, _ = hosts
    disk = host.create()
    snapshot = host.snapshot(disk)
    host.activate(snapshot, writable=False)
    host.activate(disk)
    host.call("sr_detach")
    assert host.maps() == []
