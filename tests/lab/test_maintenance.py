"""Hosts leave service, come back and reboot while a VM elsewhere writes; one is shut down behind Shoal's back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from lab import host as hosts
from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import BIN, SPEC, Run, lab_cli
from tests.lab.test_keeper import log_in, state, unplugged

pytestmark = pytest.mark.lab
SR = "shoal"
HOST, OTHER = "xen2", "xen1"  # the witness writes on the other
VM = "steady-witness"
MORE = 60  # records that must follow
WAIT_S = 420


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    lab_cli("up", timeout_s=600)
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    made = log_in(lab)
    end_others(made)
    vm = witness_vm.create(made, SR, VM)
    witness_vm.stop(lab, made, vm)
    witness_vm.start(made, vm, OTHER)
    return made


def end_others(session: witness_vm.Session) -> None:
    """VMs that tests before have left: the small hosts need not have room for them elsewhere."""
    for vm, record in session.call("VM.get_all_records").items():
        if record["power_state"] == "Running" and not (record["is_control_domain"] or record["HVM_boot_policy"]):
            session.call("VM.remove_from_other_config", vm, "auto_poweron")
            session.call("VM.hard_shutdown", vm)


@pytest.fixture(scope="module")
def verb() -> Callable[..., str]:
    """`verb("maintenance", "enter", "xen2", "--yes")`: the spec comes behind the words."""

    def run(*words: str) -> str:
        began = time.monotonic()
        done = lab_cli("exec", "--", str(BIN / "shoal"), "host", *words, "-f", str(SPEC), timeout_s=1500)
        print(f"shoal host {' '.join(words)}: {time.monotonic() - began:.0f} s")
        return done.stdout

    return run


def storage_vm(session: witness_vm.Session, host: str) -> str:
    (vm,) = session.call("VM.get_by_name_label", f"shoal-storage-{host}")
    return str(vm)


def wait(look: Callable[[], object], wanted: object, what: str) -> None:
    witness_vm.wait_for(look, lambda seen: seen == wanted, timeout_s=WAIT_S, what=what)


def writes_on(lab: Lab) -> None:
    """From now on, so many records more."""
    before = witness_vm.read_console(lab, OTHER, VM).acked
    witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, OTHER, VM).acked,
        lambda acked: acked >= before + MORE,
        timeout_s=WAIT_S,
        what=f"{MORE} more records on {OTHER}",
    )


def boot_id(host: str) -> str:
    return lab_cli("run", host, "--", "cat", "/proc/sys/kernel/random/boot_id").stdout.strip()


def osds(shoal: Run) -> list[tuple[bool, bool]]:
    """Of each whether it is up, and whether it is in."""
    facts = json.loads(shoal("status", "--json").stdout)["facts"]
    return [(osd["up"], osd["in_cluster"]) for osd in facts["ceph"]["osds"]]


@pytest.mark.long  # test_a_host_reboots goes the same way
def test_a_host_in_maintenance_is_missed_by_nobody(
    lab: Lab, shoal: Run, session: witness_vm.Session, verb: Callable[..., str]
) -> None:
    said = verb("maintenance", "enter", HOST, "--dry-run")
    assert "storage VM of xen2" in said and state(session, storage_vm(session, HOST)) == "Running"
    verb("maintenance", "enter", HOST, "--yes")
    assert state(session, storage_vm(session, HOST)) == "Halted"
    assert unplugged(session) == [HOST]
    writes_on(lab)
    assert sorted(osds(shoal)) == [(False, True), (True, True), (True, True)]
    assert state(session, storage_vm(session, HOST)) == "Halted", "the keeper has started it"
    refused = shoal("apply", "--yes")
    assert refused.returncode == 1 and "is in maintenance since" in refused.stdout + refused.stderr
    assert "nothing to do" in verb("maintenance", "enter", HOST, "--yes")

    verb("maintenance", "exit", HOST, "--yes")
    assert (unplugged(session), state(session, storage_vm(session, HOST))) == ([], "Running")
    wait(lambda: shoal("plan", "--exit-code", timeout_s=120).returncode, 0, "a plan with nothing to do")
    writes_on(lab)


def test_a_host_reboots(lab: Lab, shoal: Run, session: witness_vm.Session, verb: Callable[..., str]) -> None:
    before = boot_id(HOST)
    verb("reboot", HOST, "--yes")
    assert boot_id(HOST) != before
    assert osds(shoal) == [(True, True)] * 3
    assert (unplugged(session), state(session, storage_vm(session, HOST))) == ([], "Running")
    writes_on(lab)


@pytest.mark.long  # a minute and a half
def test_a_host_that_reboots_behind_shoals_back_leaves_in_order(lab: Lab, session: witness_vm.Session) -> None:
    before = boot_id(HOST)
    # dom0 keeps no journal over a boot: what it says is heard until SSH ends, which is after that.
    follow = [str(BIN / "shoal-lab"), "run", HOST, "--", "journalctl", "--follow", "--lines=0", "--unit=shoal-keeper"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as heard:
        time.sleep(5)
        lab_cli("run", HOST, "--", "systemctl", "--no-block", "reboot")
        said, _ = heard.communicate(timeout=WAIT_S)
    assert f"SR {SR} is unplugged" in said and f"the storage VM shoal-storage-{HOST} is shut down" in said, said
    assert f"noout is set for shoal-storage-{HOST}" in said, said
    wait(lambda: hosts.greets(lab, lab.host(HOST)) and boot_or_none(HOST) not in (before, None), True, "another boot")
    wait(lambda: (unplugged(session), state(session, storage_vm(session, HOST))), ([], "Running"), "xen2 as before")
    writes_on(lab)


def boot_or_none(host: str) -> str | None:
    done = lab_cli("run", host, "--", "cat", "/proc/sys/kernel/random/boot_id", check=False)
    return done.stdout.strip() or None
