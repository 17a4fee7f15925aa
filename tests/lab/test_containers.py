"""What XenCenter would show of each storage VM, and a restart from there. Needs a pool that has been applied."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from functools import partial

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import Run
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.test_pool import CEPH

pytestmark = pytest.mark.lab
SHOWN_S = 240  # of which the keeper's pace is 40; its first look waits for a busy dom0


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return witness_vm.Session(lab, enter_namespace=True)


def shown(session: witness_vm.Session, host: str) -> dict[str, dict[str, str]]:
    """ "osd-0" → its entry in the storage VM's docker_ps."""
    (vm,) = session.call("VM.get_by_name_label", f"shoal-storage-{host}")
    text = session.call("VM.get_other_config", vm).get("docker_ps", "<docker_ps/>")
    entries = [{field.tag: field.text or "" for field in entry} for entry in ElementTree.fromstring(text).iter("entry")]
    return {entry["names"][len("ceph-") + 36 + 1 :]: entry for entry in entries}


def kinds_up(session: witness_vm.Session, host: str) -> set[str]:
    return {name.split("-")[0] for name, entry in shown(session, host).items() if entry["status"] == "Up"}


def test_each_storage_vm_shows_cephs_containers(lab: Lab, session: witness_vm.Session) -> None:
    for host in lab.hosts:
        witness_vm.wait_for(
            partial(kinds_up, session, host.name),
            lambda kinds: {"mon", "osd", "container"} <= kinds,
            timeout_s=SHOWN_S,
            what=f"the containers of {host.name}",
        )


def test_a_container_is_restarted_through_the_plugin(lab: Lab, session: witness_vm.Session) -> None:
    """Of the last host, through the master: the call is forwarded."""
    master, other = lab.hosts[0], lab.hosts[-1]
    (ref,) = session.call("host.get_by_name_label", master.name)
    (vm,) = session.call("VM.get_by_name_label", f"shoal-storage-{other.name}")
    (name,) = [name for name in shown(session, other.name) if name.startswith("osd-")]
    before = shown(session, other.name)[name]
    arguments = {"vmuuid": session.call("VM.get_uuid", vm), "container": before["container"]}
    assert session.call("host.call_plugin", ref, "xscontainer", "restart", arguments) == "True"
    after = shown(session, other.name)[name]
    assert after["status"] == "Up"
    assert after["id"] != before["id"]
    witness_vm.wait_for(
        lambda: json.loads(in_storage_vm(lab, master, [*CEPH, "osd", "stat", "--format", "json"])),
        lambda stat: stat["num_up_osds"] == lab.host_count,
        timeout_s=180,
        what="all OSDs to be up again",
    )
