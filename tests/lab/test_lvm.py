"""An SR of type `lvm`: one image that every host maps, real LVM on it, and a VM's disk that outlives its host.

Applies its own spec on whatever the tests before have left: hosts that are off are switched on first.
"""

from __future__ import annotations

import re
import time
import xmlrpc.client
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import ROOT, Run, lab_cli
from tests.lab.witnesses import wait_until_it_goes_on

pytestmark = pytest.mark.lab
SPEC = ROOT / "examples" / "lab-lvm.yaml"
SR = "shoal-lvm"
DEVICE = "/dev/rbd/lvm/lvm-shoal-lvm"
WITNESS = "witness-lvm"
RECORDS = 50
LVM_FOLDERS = ("/etc/lvm", "/etc/lvm/master")
LOOK_EVERYWHERE = 'devices { global_filter = [ "a|.*|" ] scan = [ "/dev" ] } global { metadata_read_only = 0 }'
MIB = 1 << 20


def in_dom0(host: str, *words: str, timeout_s: float = 120, check: bool = True) -> str:
    return lab_cli("run", host, "--", *words, timeout_s=timeout_s, check=check).stdout


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    for host in lab.hosts:
        lab_cli("boot", host.name, timeout_s=600)
    done = shoal("apply", "--yes", spec=SPEC, timeout_s=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    session = witness_vm.Session(lab, enter_namespace=True)
    for vm in session.call("VM.get_by_name_label", witness_vm.NAME):  # an emulated host has memory for few guests
        if session.call("VM.get_power_state", vm) == "Running":
            session.call("VM.hard_shutdown", vm)
    return session


@pytest.fixture(scope="module")
def sr(session: witness_vm.Session) -> str:
    (found,) = session.call("SR.get_by_name_label", SR)
    return str(found)


@pytest.fixture
def vm(lab: Lab, session: witness_vm.Session) -> str:
    """The witness, halted, with its disk on this SR."""
    made = witness_vm.create(session, SR, WITNESS)
    witness_vm.stop(lab, session, made)
    return made


def is_plugged(session: witness_vm.Session, sr: str, host: str) -> bool:
    return bool(pbd_of(session, sr, host)["currently_attached"])


def pbd_of(session: witness_vm.Session, sr: str, host: str) -> dict[str, Any]:
    (ref,) = session.call("host.get_by_name_label", host)
    records = [session.call("PBD.get_record", pbd) for pbd in session.call("SR.get_PBDs", sr)]
    return next(record for record in records if record["host"] == ref)


def wait_for_acks(lab: Lab, host: str, count: int) -> witness_vm.Console:
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, WITNESS),
        lambda console: console.acked >= count,
        timeout_s=300,
        what=f"{count} records acknowledged on {host}",
    )


def check_all_is_there(lab: Lab, host: str, acked: int) -> None:
    """The witness, started on that host, finds every record that it acknowledged before, and goes on."""
    after = witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, WITNESS),
        lambda console: console.highest is not None,
        timeout_s=300,
        what=f"the witness on {host} to say what it found",
    )
    assert after.highest is not None
    assert after.highest >= acked >= RECORDS
    assert "damaged" not in after.text
    wait_for_acks(lab, host, after.highest + 5)


def test_it_is_plugged_on_every_host(lab: Lab, session: witness_vm.Session, sr: str) -> None:
    record = session.call("SR.get_record", sr)
    assert (record["type"], record["shared"]) == ("lvm", True)
    assert int(record["physical_size"]) > 250 << 30
    for host in lab.hosts:
        pbd = pbd_of(session, sr, host.name)
        assert pbd["currently_attached"], host.name
        assert pbd["device_config"]["device"] == DEVICE
        assert re.fullmatch(r"/dev/rbd\d+\n", in_dom0(host.name, "readlink", "-f", DEVICE))


@pytest.mark.long
def test_lvm_sees_it_with_either_settings(lab: Lab, session: witness_vm.Session, sr: str) -> None:
    group = f"VG_XenStorage-{session.call('SR.get_uuid', sr)}"
    for host in lab.hosts:
        for folder in LVM_FOLDERS:
            argv = ["env", f"LVM_SYSTEM_DIR={folder}", "pvs", "--noheadings", "-o", "vg_name", DEVICE]
            assert in_dom0(host.name, *argv).strip() == group, (host.name, folder)


def test_nothing_is_left_to_do(shoal: Run, session: witness_vm.Session) -> None:
    plan = shoal("plan", "--exit-code", spec=SPEC, timeout_s=180)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    again = shoal("apply", "--yes", spec=SPEC, timeout_s=180)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do" in (again.stdout + again.stderr).lower()


def test_the_key_is_roots_alone(lab: Lab, session: witness_vm.Session) -> None:
    for host in lab.hosts:
        modes = in_dom0(host.name, "stat", "-c", "%a %U", "/etc/shoal/maps.key", "/etc/shoal/maps.json")
        assert modes.split("\n")[:2] == ["600 root", "600 root"]


@pytest.mark.long  # a minute and a half
def test_a_disk_moves_from_host_to_host(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    witness_vm.start(session, vm, "xen2")
    acked = wait_for_acks(lab, "xen2", RECORDS).acked
    session.call("VM.hard_shutdown", vm)
    assert volumes_of(session, "xen2") == set()
    witness_vm.start(session, vm, "xen3")
    check_all_is_there(lab, "xen3", acked)
    assert len(volumes_of(session, "xen3")) == 1
    session.call("VM.hard_shutdown", vm)


def volumes_of(session: witness_vm.Session, host: str) -> set[str]:
    """The SR's volumes that are active in a dom0."""
    names = in_dom0(host, "sh", "-c", "ls /dev/mapper")
    return {name for name in names.split() if name.startswith("VG_XenStorage")}


@pytest.mark.long
def test_a_scan_brings_a_forgotten_disk_back_with_its_names(session: witness_vm.Session, sr: str) -> None:
    record: dict[str, object] = {
        "name_label": "kept – “so”",
        "name_description": "by its tags",
        "SR": sr,
        "virtual_size": str(10 * MIB),
    }
    record |= {"type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}}
    made = session.call("VDI.create", {**record, "sm_config": {}, "tags": []})
    uuid = session.call("VDI.get_uuid", made)
    session.call("VDI.set_name_label", made, "renamed")
    session.call("VDI.forget", made)
    session.call("SR.scan", sr)
    again = session.call("VDI.get_by_uuid", uuid)
    found = session.call("VDI.get_record", again)
    assert (found["name_label"], found["name_description"]) == ("renamed", "by its tags")
    assert int(found["virtual_size"]) == 12 * MIB  # whole extents of LVM's
    session.call("VDI.resize", again, str(16 * MIB))
    assert int(session.call("VDI.get_virtual_size", again)) == 16 * MIB
    session.call("VDI.destroy", again)


class ForeignDisk:
    """A VM's disk on the rbd SR, active in a dom0 behind the toolstack's back, as a VM there would have it."""

    def __init__(self, session: witness_vm.Session, host: str) -> None:
        self.session, self.host = session, host
        (self.sr,) = session.call("SR.get_by_name_label", "shoal")
        record: dict[str, object] = {
            "name_label": "a VM's own LVM",
            "name_description": "",
            "SR": self.sr,
            "virtual_size": str(64 * MIB),
        }
        record |= {"type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}}
        self.vdi = session.call("VDI.create", {**record, "sm_config": {}, "tags": []})
        self.uuid = session.call("VDI.get_uuid", self.vdi)

    def ask(self, command: str, *args: str) -> Any:
        sr_uuid = self.session.call("SR.get_uuid", self.sr)
        config = pbd_of(self.session, self.sr, self.host)["device_config"]
        request = {
            "command": command,
            "args": list(args),
            "host_ref": "OpaqueRef:none",
            "session_ref": self.session._session,
            "sr_ref": self.sr,
            "sr_uuid": sr_uuid,
            "device_config": {**config, "SRmaster": "true"},
            "vdi_ref": self.vdi,
            "vdi_uuid": self.uuid,
            "vdi_location": self.uuid,
        }
        said = in_dom0(self.host, "/opt/xensource/sm/RBDSR", xmlrpc.client.dumps((request,), command))
        return xmlrpc.client.loads(said)[0][0]


@pytest.fixture
def foreign(session: witness_vm.Session) -> Iterator[ForeignDisk]:
    disk = ForeignDisk(session, "xen3")
    yield disk
    disk.ask("vdi_deactivate")
    disk.ask("vdi_detach")
    session.call("VDI.destroy", disk.vdi)


def test_a_volume_group_on_a_vms_disk_is_not_seen_in_dom0(foreign: ForeignDisk) -> None:
    foreign.ask("vdi_attach", "true")
    foreign.ask("vdi_activate", "true")
    link = f"/dev/sm/backend/{foreign.session.call('SR.get_uuid', foreign.sr)}/{foreign.uuid}"
    device = in_dom0("xen3", "readlink", "-f", link).strip()
    assert re.fullmatch(r"/dev/rbd\d+", device)
    for argv in (["pvcreate"], ["vgcreate", "--setautoactivation", "n", "vm-own"]):
        in_dom0("xen3", *argv, "--config", LOOK_EVERYWHERE, device)
    assert "vm-own" in in_dom0("xen3", "vgs", "--config", LOOK_EVERYWHERE)
    # As when the VM's host maps the disk: udev may look at it again.
    in_dom0("xen3", "udevadm", "trigger", "--action=add", "--settle", f"/sys/class/block/{Path(device).name}")
    for folder in LVM_FOLDERS:
        assert "vm-own" not in in_dom0("xen3", "env", f"LVM_SYSTEM_DIR={folder}", "vgs", "--noheadings")
    assert "lvm-pv-uuid" not in in_dom0("xen3", "ls", "/dev/disk/by-id")


@pytest.mark.long
def test_a_disk_outlives_its_host_and_the_host_comes_back_by_itself(
    lab: Lab, session: witness_vm.Session, sr: str, vm: str, shoal: Run
) -> None:
    witness_vm.start(session, vm, "xen2")
    wait_for_acks(lab, "xen2", RECORDS)
    acked = witness_vm.read_console(lab, "xen2", WITNESS).acked
    lab_cli("crash", "xen2")
    session.call("VM.power_state_reset", vm)
    witness_vm.start(session, vm, "xen3")
    check_all_is_there(lab, "xen3", acked)

    lab_cli("boot", "xen2", timeout_s=600)
    witness_vm.wait_for(
        lambda: pbd_of(session, sr, "xen2")["currently_attached"],
        bool,
        timeout_s=300,
        what="the SR to be plugged on xen2 again",
    )
    assert in_dom0("xen2", "readlink", "-f", DEVICE).startswith("/dev/rbd")
    deadline = time.monotonic() + 240
    while (state := unit_state()) != "ActiveState=inactive Result=success":
        assert time.monotonic() < deadline, state
        time.sleep(3)
    session.call("VM.hard_shutdown", vm)
    wait_until_nothing_is_left(shoal)


def unit_state() -> str:
    """Of the unit that maps and plugs after a boot: it ends when there is nothing left to do."""
    argv = ["systemctl", "show", "-p", "ActiveState", "-p", "Result", "shoal-map-retry.service"]
    return " ".join(sorted(in_dom0("xen2", *argv).split()))


def wait_until_nothing_is_left(shoal: Run) -> None:
    """The storage VM of a host that has just booted takes a while to answer."""
    deadline = time.monotonic() + 300
    while (plan := shoal("plan", "--exit-code", spec=SPEC, timeout_s=180)).returncode != 0:
        assert time.monotonic() < deadline, plan.stdout + plan.stderr
        time.sleep(5)


@pytest.mark.long
def test_what_an_administrator_unplugs_stays_unplugged(session: witness_vm.Session, sr: str, shoal: Run) -> None:
    (host,) = session.call("host.get_by_name_label", "xen3")
    refs = session.call("SR.get_PBDs", sr)
    (ref,) = [pbd for pbd in refs if session.call("PBD.get_host", pbd) == host]
    session.call("PBD.unplug", ref)
    time.sleep(15)  # longer than the unit's pause between tries
    assert not session.call("PBD.get_currently_attached", ref)
    done = shoal("apply", "--yes", spec=SPEC, timeout_s=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert session.call("PBD.get_currently_attached", ref)


@pytest.mark.long
def test_after_a_power_cut_it_comes_back_with_no_hand_laid_on_it(
    lab: Lab, session: witness_vm.Session, sr: str, vm: str, shoal: Run
) -> None:
    """Ceph is not there when the hosts boot, and not when their toolstacks plug, and start, what they can."""
    session.call("VM.set_other_config", vm, {"auto_poweron": "true"})
    witness_vm.start(session, vm, "xen2")
    acked = wait_for_acks(lab, "xen2", RECORDS).acked
    lab_cli("powercut")
    lab_cli("up", timeout_s=900)
    afterwards = witness_vm.Session(lab, enter_namespace=True)
    for host in lab.hosts:
        witness_vm.wait_for(
            partial(is_plugged, afterwards, sr, host.name),
            bool,
            timeout_s=600,
            what=f"the SR to be plugged on {host.name} again",
        )
    wait_until_it_goes_on(lab, afterwards, vm, WITNESS, acked)
    afterwards.call("VM.set_other_config", vm, {})
    done = shoal("apply", "--yes", spec=SPEC, timeout_s=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    wait_until_nothing_is_left(shoal)
    afterwards.call("VM.hard_shutdown", vm)
