"""The hosts are what they say: real Xen, a real disk, power and cables that can be pulled. And a lab leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import host as hosts
from lab import power
from lab.command import NAMESPACES, recorded
from lab.topology import Lab, locate
from tests.lab.conftest import lab_cli

pytestmark = pytest.mark.lab

WITNESS = "witness-of-hosts"
CONSOLE_LOG = f"/var/log/xen/console/guest-{WITNESS}.log"
GUEST = f"""
name = "{WITNESS}"
kernel = "/boot/guest/vmlinuz"
ramdisk = "/boot/guest/witness.img"
extra = "console=hvc0 quiet"
memory = 96
disk = ["phy:LOOP,xvda,w"]
"""
START_GUEST = f"""
rm -f {CONSOLE_LOG}
test -e /root/disk.img || truncate -s 64M /root/disk.img
sed "s|LOOP|$(losetup -f --show /root/disk.img)|" > /root/guest.cfg
xl create /root/guest.cfg
"""


def in_dom0(host: str, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["shoal-lab", "run", host, "--", *words], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait_in_dom0(host: str, condition: str) -> None:
    in_dom0(host, "timeout", "60", "sh", "-c", f"until {condition}; do sleep 0.5; done")


@pytest.fixture(autouse=True)
def commands_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def test_a_host_is_xen_with_a_dom0(lab: Lab) -> None:
    info = in_dom0("xen1", "xl", "info")
    assert "xen_version            : 4.17" in info
    assert "xen_caps               : xen-3.0-x86_64" in info
    assert in_dom0("xen1", "cat", "/proc/xen/capabilities").strip() == "control_d"
    assert in_dom0("xen3", "hostname").strip() == "xen3"


def test_the_disk_has_a_root_area_free_space_and_a_stable_name(lab: Lab) -> None:
    by_id = f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{lab.host('xen2').disk_serial}"
    assert in_dom0("xen2", "readlink", "-f", by_id).strip() == "/dev/sda"
    assert in_dom0("xen2", "findmnt", "-no", "SOURCE", "/").strip() == "/dev/sda1"
    table = json.loads(in_dom0("xen2", "sfdisk", "--json", by_id))["partitiontable"]
    (root,) = table["partitions"]
    assert table["label"] == "gpt"
    assert (table["lastlba"] - root["start"] - root["size"]) * 512 > 30 * 1024**3


def test_a_host_takes_its_time_from_the_lan(lab: Lab) -> None:
    wait_in_dom0("xen3", "chronyc -n sources | grep -qF '^* 10.77.0.1'")


@pytest.mark.long  # test_chaos crashes hosts under guests that write
def test_a_guest_that_loses_its_host_finds_all_that_it_acknowledged(lab: Lab) -> None:
    in_dom0("xen1", "sh", "-c", START_GUEST, stdin=GUEST)
    wait_in_dom0("xen1", f"grep -q '^ack 50' {CONSOLE_LOG}")
    acked = int(in_dom0("xen1", "sh", "-c", f"grep '^ack' {CONSOLE_LOG} | tail -n 1").split()[1])

    lab_cli("crash", "xen1")
    status = json.loads(lab_cli("status", "--json", check=False).stdout)
    assert [host["power"] for host in status["hosts"]] == ["off", "on", "on"]
    assert not power.answers(lab, lab.host("xen1"))

    lab_cli("boot", "xen1")
    in_dom0("xen1", "sh", "-c", START_GUEST, stdin=GUEST)
    wait_in_dom0("xen1", f"grep -q '^highest' {CONSOLE_LOG}")
    said = in_dom0("xen1", "cat", CONSOLE_LOG)
    highest = int(said.partition("highest ")[2].split()[0])
    assert highest >= acked
    assert "damage" not in said
    in_dom0("xen1", "xl", "shutdown", "-w", WITNESS)


def test_a_cut_host_is_off_the_lan_and_comes_back(lab: Lab) -> None:
    ping = ["exec", "--", sys.executable, "-c", CONNECT]
    assert lab_cli(*ping, lab.host("xen2").address).stdout.strip() == "reached"
    lab_cli("cut", "xen2")
    try:
        assert lab_cli(*ping, lab.host("xen2").address).stdout.strip() == "silent"
        assert lab_cli(*ping, lab.host("xen3").address).stdout.strip() == "reached"
        assert in_dom0("xen2", "hostname").strip() == "xen2"  # the lab's own wire is no part of the LAN
    finally:
        lab_cli("heal", "xen2")
    assert lab_cli(*ping, lab.host("xen2").address).stdout.strip() == "reached"


CONNECT = """
import socket, sys
for port in (22, 443):
    try:
        socket.create_connection((sys.argv[1], port), 3).close()
    except OSError:
        sys.exit(print("silent"))
print("reached")
"""


def test_up_on_a_running_lab_changes_nothing(lab: Lab) -> None:
    before = [hosts.running(host) for host in lab.hosts]
    lab_cli("up", timeout_s=300)
    assert None not in before
    assert [hosts.running(host) for host in lab.hosts] == before


@pytest.mark.long  # the lab itself: a minute
def test_a_second_lab_after_a_mess_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    other = ("--dir", str(tmp_path / "other"))
    lab_cli(*other, "up", "--hosts", "1", timeout_s=400)
    second = locate(tmp_path / "other")
    (host,) = second.hosts
    qemu, toolstack = hosts.running(host), recorded(power.toolstack_pid(host))
    assert qemu is not None
    assert toolstack is not None
    stray = subprocess.Popen(["nsenter", f"--net={NAMESPACES / second.namespace}", "sleep", "600"])
    os.kill(toolstack.pid, signal.SIGKILL)
    hosts.pid_file(host).unlink()  # nobody has a record of QEMU any more

    lab_cli(*other, "down", "--purge", timeout_s=120)

    assert stray.wait(timeout=10) == -signal.SIGKILL
    assert not (NAMESPACES / second.namespace).exists()
    assert not second.dir.exists()
    for trace in (Path("/proc/self/mountinfo").read_text(), losetup(), command_lines()):
        assert str(second.dir) not in trace
    assert all(hosts.running(host) for host in lab.hosts)  # the first lab is as it was


def losetup() -> str:
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, timeout=10, check=True).stdout


def command_lines() -> str:
    own = {str(os.getpid()), str(os.getppid())}
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append("" if path.parent.name in own else path.read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return "\n".join(found)
