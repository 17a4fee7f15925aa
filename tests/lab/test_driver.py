"""The driver in a real dom0, on a real kernel's RBD client: maps, what keeps two hosts apart, what is refused and why.

Needs a pool that has been applied: an SR of type `rbd`, plugged on the first two hosts.
"""

from __future__ import annotations

import re
import time
import xmlrpc.client
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from lab import witness_vm
from lab.dom0 import Answer, Dom0
from lab.topology import Host, Lab

pytestmark = pytest.mark.lab
DRIVER = "/opt/xensource/sm/RBDSR"
MIB = 1 << 20
MONITOR_PORT = 6789
ESTABLISHED = "01"


class Driver:
    """The driver on one host, called as the toolstack calls it, but past the toolstack's own checks."""

    def __init__(self, dom0: Dom0, host: Host, session: witness_vm.Session, sr: str) -> None:
        self.dom0 = dom0
        self.host = host
        self.session = session
        self.sr = sr
        self.sr_uuid = session.call("SR.get_uuid", sr)
        pbd = session.call("SR.get_PBDs", sr)[0]
        self.device_config = session.call("PBD.get_device_config", pbd)

    async def call(self, command: str, vdi: str, *args: str) -> Any:
        uuid = self.session.call("VDI.get_uuid", vdi)
        request = {
            "command": command,
            "args": list(args),
            "host_ref": "OpaqueRef:none",
            "session_ref": self.session._session,
            "sr_ref": self.sr,
            "sr_uuid": self.sr_uuid,
            "device_config": {**self.device_config, "SRmaster": "true"},
            "vdi_ref": vdi,
            "vdi_uuid": uuid,
            "vdi_location": uuid,
        }
        answer = await self.dom0.run([DRIVER, xmlrpc.client.dumps((request,), command)], timeout_s=120)
        assert (answer.code, answer.stderr) == (0, "")
        return xmlrpc.client.loads(answer.stdout)[0][0]

    async def run(self, *argv: str) -> Answer:
        return await self.dom0.run(argv, timeout_s=60)

    async def maps_of(self, vdi: str) -> int:
        answer = await self.run("sh", "-c", "cat /sys/bus/rbd/devices/*/name 2>/dev/null || :")
        return answer.stdout.split().count(f"vdi-{self.session.call('VDI.get_uuid', vdi)}")

    def link(self, vdi: str) -> str:
        return f"/dev/sm/backend/{self.sr_uuid}/{self.session.call('VDI.get_uuid', vdi)}"


@pytest.fixture(scope="module")
def session(lab: Lab) -> witness_vm.Session:
    return witness_vm.Session(lab, enter_namespace=True)


@pytest.fixture(scope="module")
def sr(session: witness_vm.Session) -> str:
    found = [ref for ref, record in session.call("SR.get_all_records").items() if record["type"] == "rbd"]
    assert found, "this lab's pool has no SR of type rbd: apply first"
    return str(found[0])


@pytest.fixture
def vdi(session: witness_vm.Session, sr: str) -> Iterator[str]:
    record: dict[str, object] = {
        "name_label": "driver test",
        "name_description": "",
        "SR": sr,
        "virtual_size": str(64 * MIB),
    }
    record |= {"type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}}
    made = session.call("VDI.create", {**record, "sm_config": {}, "tags": []})
    yield made
    session.call("VDI.destroy", made)


@pytest.fixture
async def first(lab: Lab, session: witness_vm.Session, sr: str, vdi: str) -> AsyncIterator[Driver]:
    async with Dom0(lab.hosts[0], lab) as dom0:
        driver = Driver(dom0, lab.hosts[0], session, sr)
        yield driver
        await driver.call("vdi_detach", vdi)


@pytest.fixture
async def second(lab: Lab, session: witness_vm.Session, sr: str, vdi: str) -> AsyncIterator[Driver]:
    async with Dom0(lab.hosts[1], lab) as dom0:
        driver = Driver(dom0, lab.hosts[1], session, sr)
        yield driver
        await driver.call("vdi_detach", vdi)


async def test_a_disk_is_mapped_once_and_holds_data(first: Driver, vdi: str) -> None:
    attached = await first.call("vdi_attach", vdi, "true")
    assert attached["params"] == first.link(vdi)
    assert await first.maps_of(vdi) == 0
    for _ in range(2):
        await first.call("vdi_activate", vdi, "true")
        assert await first.maps_of(vdi) == 1
    where = await first.run("readlink", "-f", first.link(vdi))
    assert re.fullmatch(r"/dev/rbd\d+\n", where.stdout)
    assert (await first.run("blockdev", "--getsize64", first.link(vdi))).stdout == f"{64 * MIB}\n"
    written = await first.run("sh", "-c", f"echo kept | dd of={first.link(vdi)} bs=4096 conv=sync oflag=direct")
    assert written.code == 0, written.stderr
    await first.call("vdi_deactivate", vdi)
    await first.call("vdi_detach", vdi)
    assert await first.maps_of(vdi) == 0


async def test_its_client_talks_to_the_monitor_of_its_own_host(first: Driver, second: Driver, vdi: str) -> None:
    """So it hears at once of another host's death: /proc/net/tcp has the kernel's own connections, too."""
    for driver in (first, second):
        await driver.call("vdi_activate", vdi, "true")
        number = (await driver.run("readlink", "-f", driver.link(vdi))).stdout.strip().removeprefix("/dev/rbd")
        # The key stands behind it.
        told = await driver.run("cut", "-d ", "-f1", f"/sys/bus/rbd/devices/{number}/config_info")
        own = str(driver.host.storage_vm_address)
        assert told.stdout == f"{own}:{MONITOR_PORT}\n"
        there = f"{ip_address(own).packed[::-1].hex().upper()}:{MONITOR_PORT:04X} {ESTABLISHED} "
        assert there in (await driver.run("cat", "/proc/net/tcp")).stdout
        await driver.call("vdi_deactivate", vdi)


async def test_a_second_host_is_refused_until_the_first_lets_go(first: Driver, second: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    await first.run("sh", "-c", f"echo from-the-first | dd of={first.link(vdi)} bs=4096 conv=sync oflag=direct")
    await second.call("vdi_attach", vdi, "true")  # a migration's order: attached there, active here
    started = time.monotonic()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        await second.call("vdi_activate", vdi, "true")
    assert caught.value.faultCode == 46
    assert f"in use for writing by the host at {first.host.address}" in caught.value.faultString
    assert time.monotonic() - started < 20
    assert await second.maps_of(vdi) == 0
    await first.call("vdi_deactivate", vdi)
    await second.call("vdi_activate", vdi, "true")
    read = await second.run("dd", f"if={second.link(vdi)}", "bs=15", "count=1", "status=none")
    assert read.stdout == "from-the-first\n"
    await second.call("vdi_deactivate", vdi)


async def test_the_kernel_itself_refuses_a_second_writer(first: Driver, second: Driver, vdi: str) -> None:
    """Were the driver's own check not there: the same line to the second host's kernel."""
    await first.call("vdi_activate", vdi, "true")
    secret = second.session.call("secret.get_by_uuid", second.device_config["password_secret"])
    key = second.session.call("secret.get_value", secret)
    config = second.device_config
    options = f"name={config['user']},secret={key},noshare,mount_timeout=8,exclusive"
    image = f"vdi-{second.session.call('VDI.get_uuid', vdi)}"
    line = f"{config['monitors']} {options} {config['pool']} {image} -"
    script = "modprobe rbd; cat > /sys/bus/rbd/add_single_major"
    answer = await second.dom0.run(["sh", "-c", script], input=line, timeout_s=60)
    assert answer.code != 0
    assert await second.maps_of(vdi) == 0


async def test_a_mapped_disk_can_be_renamed_and_not_removed(first: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    await first.call("vdi_update", vdi)
    with pytest.raises(xmlrpc.client.Fault) as caught:
        await first.call("vdi_delete", vdi)
    assert caught.value.faultCode == 24
    await first.call("vdi_deactivate", vdi)


async def test_a_mapped_disk_grows_under_its_host(first: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    await first.call("vdi_resize", vdi, str(128 * MIB))
    assert (await first.run("blockdev", "--getsize64", first.link(vdi))).stdout == f"{128 * MIB}\n"
    written = await first.run(
        *("sh", "-c", f"echo kept | dd of={first.link(vdi)} bs=1M seek=100 conv=sync oflag=direct")
    )
    assert written.code == 0, written.stderr
    await first.call("vdi_deactivate", vdi)


async def test_a_disk_that_is_open_is_not_torn_away(first: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    held = await first.run("sh", "-c", f"sleep 300 < {first.link(vdi)} > /dev/null 2>&1 & echo $!")
    with pytest.raises(xmlrpc.client.Fault) as caught:
        await first.call("vdi_deactivate", vdi)
    assert caught.value.faultCode == 24
    assert await first.maps_of(vdi) == 1
    await first.run("kill", held.stdout.strip())
    await first.call("vdi_deactivate", vdi)
    assert await first.maps_of(vdi) == 0


async def test_a_read_only_disk_is_mapped_beside_a_writer(first: Driver, second: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    await second.call("vdi_activate", vdi, "false")
    assert (await second.run("blockdev", "--getro", second.link(vdi))).stdout == "1\n"
    await second.call("vdi_deactivate", vdi)
    await first.call("vdi_deactivate", vdi)


async def test_no_secret_is_in_the_drivers_log(first: Driver, vdi: str) -> None:
    await first.call("vdi_activate", vdi, "true")
    secret = first.session.call("secret.get_by_uuid", first.device_config["password_secret"])
    key = first.session.call("secret.get_value", secret)
    log = await first.run("sh", "-c", "journalctl -t SM --no-pager; dmesg; cat /var/log/SMlog* 2>/dev/null || :")
    assert "vdi_activate" in log.stdout
    assert key not in log.stdout
    assert first.session._session not in log.stdout
    await first.call("vdi_deactivate", vdi)
