"""A storage VM's life on this machine: boots, is itself, has its disk, loses its power, comes back, leaves nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import network, storage_vm
from lab.command import NAMESPACES, recorded, run
from lab.storage_vm import VirtualMachine
from lab.topology import Host, Lab
from tests.lab import storage_vms

pytestmark = [pytest.mark.lab, pytest.mark.long]  # the lab itself; each test of a whole pool uses three of them
CGROUPS = Path("/sys/fs/cgroup")
Machine = tuple[Lab, Host, VirtualMachine, Path]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    from lab.topology import locate

    found = locate()
    lab = Lab(tmp_path_factory.mktemp("storage-vm"), found.cache, host_count=1)
    host = lab.hosts[0]
    network.build(lab)
    key = storage_vms.make_key(lab)
    vm = storage_vms.describe(lab, host, key)
    try:
        storage_vm.start(lab, host, vm)
        storage_vms.wait_until_up(lab, host, key)
        yield lab, host, vm, key
    finally:
        storage_vm.clean(lab)
        run(["ip", "netns", "delete", lab.namespace], timeout_s=10)
    assert not list(NAMESPACES.glob(f"{lab.namespace}*"))
    assert str(lab.dir) not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    assert str(lab.dir) not in Path("/proc/mounts").read_text()
    assert not [path for deep in ("*", "*/*") for path in CGROUPS.glob(deep) if path.name.startswith(lab.namespace)]


def test_is_what_its_config_drive_says(machine: Machine) -> None:
    lab, host, vm, key = machine
    said = storage_vms.inside(
        lab, host, key, "hostname; systemctl is-active chrony docker ssh; docker images -q"
    ).stdout
    assert said.split()[:4] == ["xen1-storage", "active", "active", "active"]
    assert len(said.split()) == 5, "the Ceph image is not in Docker"
    assert storage_vm.addresses(lab, host, vm.uuid) == {0: [host.storage_vm_address]}


def test_shares_no_control_group(machine: Machine) -> None:
    """Else `systemctl kill docker` in one storage VM ends the Docker of all of them."""
    lab, host, vm, _ = machine
    daemon = recorded(host.dir / "vms" / vm.uuid / "nspawn.pid")
    assert daemon
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{daemon.pid}/cgroup").read_text().splitlines())
    own = f"/{lab.namespace}-{vm.uuid[:8]}/"
    assert groups[""].startswith(own)
    assert groups.get("name=systemd", own).startswith(own.rstrip("/"))


def test_sees_a_range_of_the_hosts_disk(machine: Machine) -> None:
    lab, host, _, key = machine
    storage_vms.inside(lab, host, key, "printf shoal | dd of=/dev/xvdc bs=4096 seek=3 conv=fsync 2>/dev/null")
    with host.disk.open("rb") as file:
        file.seek(storage_vms.DATA_OFFSET_BYTES + 3 * 4096)
        assert file.read(5) == b"shoal"
    size = storage_vms.inside(lab, host, key, "blockdev --getsize64 /dev/xvdc").stdout
    assert int(size) == storage_vms.DATA_BYTES


def test_is_given_a_disk_and_loses_it(machine: Machine) -> None:
    lab, host, vm, key = machine
    spare = lab.dir / "spare.img"
    run(["truncate", "--size=64M", spare], timeout_s=10)
    disk = storage_vm.Disk("3", spare, 0, 64 << 20)
    for _ in range(2):
        storage_vm.plug(lab, host, vm.uuid, disk)
    storage_vms.inside(lab, host, key, "printf shoal | dd of=/dev/xvdd conv=fsync 2>/dev/null")
    assert spare.read_bytes()[:5] == b"shoal"
    # A container is given the devices that are there when it starts: Ceph's need this one.
    command = "docker run --rm --privileged -v /dev:/dev --entrypoint head localhost/ceph:18.2.7 -c 5 /dev/xvdd"
    assert storage_vms.inside(lab, host, key, command).stdout == "shoal"
    for place, name in (("3", "xvdd"), ("2", "xvdc")):  # the latter it has booted with
        for _ in range(2):
            storage_vm.unplug(lab, host, vm.uuid, place)
        assert storage_vms.inside(lab, host, key, f"ls /dev/{name}", check=False).code != 0
    storage_vm.plug(lab, host, vm.uuid, vm.disks[2])
    assert storage_vms.inside(lab, host, key, "head -c 5 /dev/xvdc | wc -c").stdout.strip() == "5"


def test_has_its_system_disk_to_the_end(machine: Machine) -> None:
    lab, host, _, key = machine
    total = int(storage_vms.inside(lab, host, key, "df --output=size -B1 / | tail -n 1").stdout)
    assert total > 0.9 * storage_vms.ROOT_BYTES


def test_runs_containers(machine: Machine) -> None:
    lab, host, _, key = machine
    command = "docker run --rm --privileged --net=host --entrypoint ceph localhost/ceph:18.2.7 --version"
    assert "18.2.7" in storage_vms.inside(lab, host, key, command).stdout


def test_comes_back_after_its_power_was_gone(machine: Machine) -> None:
    lab, host, vm, key = machine
    storage_vms.inside(lab, host, key, "echo kept > /root/kept; sync")
    storage_vm.kill(lab, host, vm.uuid)
    assert not storage_vm.is_running(lab, host, vm.uuid)
    assert storage_vm.addresses(lab, host, vm.uuid) == {}
    storage_vm.start(lab, host, vm)
    storage_vms.wait_until_up(lab, host, key)
    assert storage_vms.inside(lab, host, key, "cat /root/kept").stdout.strip() == "kept"


def test_is_found_by_another_process_and_shuts_down_cleanly(machine: Machine) -> None:
    lab, host, vm, _ = machine
    storage_vm.start(lab, host, vm)  # runs already: nothing happens
    began = time.monotonic()
    storage_vm.shutdown(lab, host, vm.uuid, timeout_s=60)
    assert time.monotonic() - began < 55, "it did not power off by itself"
    assert not storage_vm.is_running(lab, host, vm.uuid)
