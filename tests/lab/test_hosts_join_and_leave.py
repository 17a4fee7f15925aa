"""A fourth host joins the storage and another leaves it, each command killed once, while a VM writes through it all.

Last of the lab's tests: the lab grows, and one of its hosts is ejected from the pool.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lab import witness_vm
from lab.topology import Lab, locate
from tests.lab.conftest import BIN, ROOT, SPEC, Run, lab_cli
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.test_keeper import log_in, unplugged
from tests.lab.whole_pool import copy_spec, make_whole

pytestmark = [pytest.mark.lab, pytest.mark.long]
SR, VM, NEW = "shoal", "settled-witness", "xen4"
MORE = 40  # records that must follow
COMMAND_S = 1500
WAIT_S = 300
FAIL_MANAGER = """docker exec $(docker ps -q --filter name=-mon- | head -n 1) sh -c \
'ceph -n mon. -k /var/lib/ceph/mon/*/keyring mgr fail'"""


@pytest.fixture(scope="module")
def spec(lab: Lab, shoal: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hosts that work."""
    file = copy_spec(tmp_path_factory.mktemp("spec"))
    make_whole(shoal, file)
    return file


@pytest.fixture
def session(lab: Lab, spec: Path) -> witness_vm.Session:
    """Anew for each test: the toolstacks restart when the lab grows."""
    return log_in(lab)


@pytest.fixture
def leaving(session: witness_vm.Session) -> str:
    """A host with an OSD and a monitor that is not the master, and not the one that the spec's URL names."""
    return "xen2" if master(session) != "xen2" else "xen3"


def master(session: witness_vm.Session) -> str:
    (pool,) = session.call("pool.get_all")
    return str(session.call("host.get_name_label", session.call("pool.get_master", pool)))


def host_argv(spec: Path, *words: str) -> list[str]:
    return [str(BIN / "shoal-lab"), "exec", "--", str(BIN / "shoal"), "host", *words, "-f", str(spec)]


def run_host(spec: Path, *words: str) -> subprocess.CompletedProcess[str]:
    began = time.monotonic()
    done = subprocess.run(
        host_argv(spec, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    print(f"shoal host {' '.join(words)}: exit {done.returncode} after {time.monotonic() - began:.0f} s")
    return done


def kill_at(spec: Path, moment: str, *words: str) -> None:
    """Start it, and kill it when its progress first says that this is done."""
    env = {**os.environ, "NO_COLOR": "1"}
    began = time.monotonic()
    with subprocess.Popen(
        host_argv(spec, *words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        assert process.stdout is not None
        bound = threading.Timer(COMMAND_S, process.kill)
        bound.start()
        said = []
        for line in process.stdout:
            said.append(line)
            if re.search(moment, line):
                process.kill()
                print(f"shoal host {' '.join(words)}: killed after {time.monotonic() - began:.0f} s at: {line.strip()}")
                break
        else:
            pytest.fail(f"it ended before {moment!r}:\n{''.join(said)[-4000:]}")
        bound.cancel()


def must(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def ceph(shoal: Run, spec: Path) -> dict[str, Any]:
    return dict(json.loads(shoal("status", "--json", spec=spec).stdout)["facts"]["ceph"])


def make_manager_active(lab: Lab, shoal: Run, spec: Path, host: str) -> None:
    """Of two managers the other one takes over."""

    def active() -> list[str]:
        return [mgr["host"] for mgr in ceph(shoal, spec)["mgrs"] if mgr["active"]]

    name = f"shoal-storage-{host}"
    if active() != [name] and name in [mgr["host"] for mgr in ceph(shoal, spec)["mgrs"]]:
        in_storage_vm(lab, lab.host("xen1"), ["sh", "-c", FAIL_MANAGER])
        witness_vm.wait_for(active, lambda seen: seen == [name], timeout_s=120, what=f"the manager on {host}")


def hosts_of(rows: list[dict[str, Any]], key: str) -> list[str]:
    return sorted(row[key].removeprefix("shoal-storage-") for row in rows)


def plan_is_empty(shoal: Run, spec: Path) -> None:
    witness_vm.wait_for(
        lambda: shoal("plan", "--exit-code", spec=spec, timeout_s=120),
        lambda done: done.returncode == 0,
        timeout_s=WAIT_S,
        what="a plan with nothing to do",
    )


def wait_until_clean(shoal: Run, spec: Path) -> None:
    """While placement groups peer anew, nothing may leave."""
    witness_vm.wait_for(
        lambda: ceph(shoal, spec),
        lambda seen: 0 < seen["pgs"] == seen["clean_pgs"],
        timeout_s=WAIT_S,
        what="all placement groups to be clean",
    )


def writes_on(lab: Lab, host: str) -> int:
    """From now on, so many records more; the last one that was acknowledged."""
    before = witness_vm.read_console(lab, host, VM).acked
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, VM).acked,
        lambda acked: acked >= before + MORE,
        timeout_s=WAIT_S,
        what=f"{MORE} more records on {host}",
    )


def start_witness(lab: Lab, session: witness_vm.Session, host: str) -> witness_vm.Console:
    """What it finds on its disk, once it has said so."""
    vm = witness_vm.create(session, SR, VM)
    witness_vm.stop(lab, session, vm)
    witness_vm.start(session, vm, host)
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, VM),
        lambda console: console.highest is not None,
        timeout_s=WAIT_S,
        what=f"the witness on {host} to say what it found",
    )


def test_a_fourth_host_joins(lab: Lab, shoal: Run, spec: Path, session: witness_vm.Session) -> None:
    start_witness(lab, session, "xen1")
    lab_cli("up", "--hosts", "4", timeout_s=900)
    session = log_in(lab)
    witness_vm.wait_for(
        lambda: len(session.call("host.get_all")),
        lambda count: count == 4,
        timeout_s=120,
        what="four hosts in the pool",
    )
    refused = shoal("plan", spec=spec)
    assert refused.returncode == 1
    assert "the pool's host xen4 is not in the spec" in refused.stdout + refused.stderr

    disk = f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{locate().host(NEW).disk_serial}"
    words = ("add", NEW, "--address", "10.77.0.24", "--disk", disk, "--use", "free-space")
    looked = run_host(spec, *words, "--dry-run")
    must(looked)
    assert "+  - name: xen4" in looked.stdout
    assert spec.read_text() == SPEC.read_text()
    kill_at(spec, r"Ceph host xen4  [\d.]+ s", *words, "--yes")
    must(run_host(spec, *words, "--yes"))

    plan_is_empty(shoal, spec)
    seen = ceph(shoal, spec)
    assert hosts_of(seen["osds"], "host") == ["xen1", "xen2", "xen3", "xen4"]
    assert all(osd["up"] and osd["in_cluster"] for osd in seen["osds"])
    assert hosts_of(seen["mons"], "name") == ["xen1", "xen2", "xen3"]  # four would tolerate no further loss
    assert unplugged(session) == []
    writes_on(lab, "xen1")


def test_a_host_with_running_vms_and_the_master_stay(
    lab: Lab, shoal: Run, spec: Path, session: witness_vm.Session, leaving: str
) -> None:
    start_witness(lab, session, leaving)
    wait_until_clean(shoal, spec)
    before = spec.read_text()
    for host, why in ((leaving, f"{VM} on {leaving} has disks"), (master(session), "is the pool's master")):
        refused = run_host(spec, "remove", host, "--yes")
        assert refused.returncode == 1
        assert why in refused.stdout + refused.stderr
    assert spec.read_text() == before
    assert lab_cli("run", leaving, "--", "systemctl", "is-active", "shoal-keeper").stdout.strip() == "active"
    writes_on(lab, leaving)


def test_a_host_with_a_monitor_leaves(
    lab: Lab, shoal: Run, spec: Path, session: witness_vm.Session, leaving: str
) -> None:
    last = witness_vm.read_console(lab, leaving, VM).acked
    found = start_witness(lab, session, "xen1").highest
    assert found is not None
    assert found >= last
    make_manager_active(lab, shoal, spec, leaving)
    words = ("remove", leaving, "--wipe", "--yes")
    wait_until_clean(shoal, spec)
    kill_at(spec, rf"OSD leaves disk {leaving}:1  [\d.]+ s", *words)
    wait_until_clean(shoal, spec)
    must(run_host(spec, *words))
    assert f"name: {leaving}" not in spec.read_text()
    check_nothing_is_left(session, leaving)

    (ref,) = session.call("host.get_by_name_label", leaving)
    session.call("pool.eject", ref)
    plan_is_empty(shoal, spec)
    seen, stay = ceph(shoal, spec), sorted({"xen1", "xen2", "xen3", "xen4"} - {leaving})
    assert hosts_of(seen["osds"], "host") == hosts_of(seen["mons"], "name") == hosts_of(seen["hosts"], "name") == stay
    assert all(mon["in_quorum"] for mon in seen["mons"])
    assert unplugged(session) == []
    check_monitors(session, seen)
    last = writes_on(lab, "xen1")

    after = start_witness(lab, session, NEW)
    assert after.highest is not None
    assert after.highest >= last
    assert "damaged" not in after.text
    writes_on(lab, NEW)


def check_nothing_is_left(session: witness_vm.Session, host: str) -> None:
    assert session.call("VM.get_by_name_label", f"shoal-storage-{host}") == []
    assert session.call("SR.get_by_name_label", f"Shoal disks {host}") == []
    (ref,) = session.call("host.get_by_name_label", host)
    assert not [key for key in session.call("host.get_other_config", ref) if key.startswith("shoal:")]
    look = "sgdisk --print /dev/sda; ls /opt /etc /opt/xensource/sm; cat /sys/bus/rbd/devices/*/pool 2>/dev/null; true"
    said = lab_cli("run", host, "--", "sh", "-c", look).stdout
    assert "shoal" not in said and "RBDSR" not in said


def check_monitors(session: witness_vm.Session, seen: dict[str, Any]) -> None:
    """Each PBD knows the monitors that there are, and no other."""
    wanted = sorted(f"{mon['address']}:{mon['v1_port']}" for mon in seen["mons"])
    (sr,) = session.call("SR.get_by_name_label", SR)
    for pbd in session.call("SR.get_PBDs", sr):
        assert sorted(session.call("PBD.get_device_config", pbd)["monitors"].split(",")) == wanted
