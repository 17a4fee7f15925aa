"""A pool on a Ceph cluster that Shoal did not make: from the pack for its keeper to a VM that writes, and back.

The cluster is the tests' little one, on the workstation's address. It has other people's data, which must stay.
Before and after it the pool is without Shoal: what tests before have left is destroyed first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import network, witness_vm
from lab.topology import WORKSTATION, Lab
from tests.ceph import coded_pool
from tests.ceph.cluster import Cluster
from tests.lab import before_apply
from tests.lab.conftest import Run, lab_cli
from tests.lab.test_destroy import differences
from tests.lab.test_disks import start_and_read, wait_for_acks
from tests.lab.test_failover import BACK_S, host_of, wait_elsewhere
from tests.lab.witnesses import wait_until_it_goes_on

pytestmark = [pytest.mark.lab, pytest.mark.long]
SERVICE_PORT = 7443
SERVICE = f"{WORKSTATION}:{SERVICE_PORT}"
SR, BULK_SR, DATA_POOL = "external", "external-bulk", "bulk"  # an erasure coded pool, for the data alone
PLACES = {SR: ("--pool", "rbd", "--namespace", "xen"), BULK_SR: ("--pool", "names")}
ADMIN = "CEPH_ARGS=-c /scratch/ceph.conf --keyring /scratch/admin.keyring"
SPEC = """\
pool: {{url: "https://{master}", password: {{env: SHOAL_POOL_PASSWORD}}}}
hosts: {hosts}
ceph:
  image: "localhost/ceph:18.2.7"
  existing:
    fsid: {fsid}
    monitors: ["{monitor}"]
    key: {{file: ceph-key}}
    volume_services: ["{service}"]
    authority: authority
srs:
  - {{name: {sr}, type: rbd, pool: rbd, namespace: xen, default: true}}
  - {{name: {bulk_sr}, type: rbd, pool: names, data_pool: {data_pool}}}
"""
SOMEBODY_ELSES = """rbd pool init rbd
rbd create rbd/mine --size 64M
rbd bench --io-type write --io-total 1M rbd/mine >/dev/null
ceph osd pool create others
echo kept | rados -p others put precious -
"""
# What commands.sh says at its end, for the one machine that runs the service. The link is of the little Ceph's own.
ON_THE_MACHINE = """rm -f /opt/shoal/volumes
cp -a /scratch/pack/{folder}/. /
ceph config generate-minimal-conf >/etc/shoal/volumes/ceph.conf
(umask 077; ceph auth get client.shoal-xen-volumes >/etc/shoal/volumes/keyring)
"""
CONTENT = """for pool in rbd others; do rados -p $pool ls | grep -v -e rbd_children -e rbd_trash | sort; done
rbd export --no-progress rbd/mine - | sha256sum
rados -p others get precious -
ceph auth ls 2>/dev/null | grep ^client
"""


@dataclass(frozen=True, slots=True)
class External:
    """Somebody's cluster, and the spec that names it."""

    cluster: Cluster
    spec: Path

    @property
    def key(self) -> Path:
        return self.spec.with_name("ceph-key")

    @property
    def log(self) -> Path:
        """What the volume service says."""
        return self.cluster.files / "volumes.log"

    def sh(self, script: str) -> str:
        """As its keeper."""
        return self.cluster.run("env", ADMIN, "sh", "-es", stdin=script, timeout_s=180)

    def listed(self, *words: str) -> list[Any]:
        return list(json.loads(self.cluster.rbd(*words, "--format", "json")))


@pytest.fixture(scope="module")
def bare(lab: Lab, shoal: Run) -> str:
    """A pool without Shoal, all hosts on; its name."""
    for host in lab.hosts:
        lab_cli("boot", host.name, timeout_s=600)
    session = witness_vm.Session(lab, enter_namespace=True)
    for vm, record in session.call("VM.get_all_records").items():
        is_own = record["is_control_domain"] or "shoal:host" in record["other_config"]
        if record["power_state"] == "Running" and not is_own:
            session.call("VM.hard_shutdown", vm)
    (pool,) = session.call("pool.get_all")
    name = str(session.call("pool.get_name_label", pool) or session.call("pool.get_uuid", pool))
    done = shoal("destroy", "--pool", name, "--with-disks", "--wipe", timeout_s=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return name


@pytest.fixture(scope="module")
def external(lab: Lab, shoal: Run, bare: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[External]:
    assert bare
    folder = tmp_path_factory.mktemp("external")
    cluster = Cluster(folder / "cluster", address=WORKSTATION, namespace=lab.namespace)
    made = External(cluster, folder / "pool.yaml")
    services = []
    try:
        cluster.start()
        made.sh(SOMEBODY_ELSES)
        coded_pool.add_osds(cluster)
        coded_pool.make(cluster, DATA_POOL)
        write_spec(made, lab)
        hand_over(made, shoal)
        services.append(cluster.start_process("/etc/shoal/volumes/run", log=made.log))
        wait_for_service(made, lab)
        yield made
    finally:
        cluster.stop()
        for service in services:
            service.wait(30)


def write_spec(external: External, lab: Lab) -> None:
    hosts = json.dumps([{"name": host.name} for host in lab.hosts])
    srs = {"sr": SR, "bulk_sr": BULK_SR, "data_pool": DATA_POOL}
    where = {"fsid": external.cluster.fsid, "monitor": external.cluster.v1_address, "service": SERVICE}
    external.spec.write_text(SPEC.format(master=lab.hosts[0].address, hosts=hosts, **where, **srs))
    external.key.touch(mode=0o600)
    external.key.write_text("not known yet\n")


def hand_over(external: External, shoal: Run) -> None:
    """What docs/how-to/use-an-existing-ceph.md says, step by step, without cephadm."""
    pack = external.cluster.files / "pack"
    done = shoal("volume-service", "--to", str(pack), spec=external.spec, timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    external.sh((pack / "commands.sh").read_text())
    external.sh(ON_THE_MACHINE.format(folder=SERVICE.replace(":", "-")))
    external.key.write_text(external.cluster.ceph("auth", "get-key", "client.shoal-xen"))


def wait_for_service(external: External, lab: Lab) -> None:
    def listens() -> bool:
        try:
            network.connect(lab, WORKSTATION, SERVICE_PORT, timeout_s=2).close()
        except OSError:
            return False
        return True

    try:
        external.cluster.wait_for(listens, 60, "the volume service")
    except TimeoutError as error:
        pytest.fail(f"{error}: {external.log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def others(external: External) -> str:
    """All that is not Shoal's on the cluster, once Shoal's users are there."""
    return external.sh(CONTENT)


@pytest.fixture(scope="module")
def session(lab: Lab, external: External, others: str, shoal: Run) -> witness_vm.Session:
    assert "kept" in others
    done = shoal("apply", "--yes", spec=external.spec, timeout_s=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:] + external.log.read_text()[-2000:]
    return witness_vm.Session(lab, enter_namespace=True)


def test_the_pool_has_its_srs_and_no_storage_vm(
    lab: Lab, external: External, session: witness_vm.Session, shoal: Run
) -> None:
    again = shoal("apply", "--yes", spec=external.spec, timeout_s=180)
    assert again.returncode == 0 and "nothing to do" in again.stdout, again.stdout + again.stderr
    assert shoal("plan", "--exit-code", spec=external.spec, timeout_s=180).returncode == 0
    status = shoal("status", spec=external.spec, timeout_s=180)
    assert status.returncode == 0, status.stdout + status.stderr
    vms = session.call("VM.get_all_records").values()
    assert not [vm["name_label"] for vm in vms if "shoal:host" in vm["other_config"]]
    assert plugged(session) == [True] * len(PLACES) * len(lab.hosts)


def plugged(session: witness_vm.Session) -> list[bool]:
    """Of each PBD of its SRs whether it is."""
    srs = [sr for name in PLACES for sr in session.call("SR.get_by_name_label", name)]
    return [session.call("PBD.get_currently_attached", pbd) for sr in srs for pbd in session.call("SR.get_PBDs", sr)]


@pytest.mark.parametrize("sr", PLACES)
def test_a_vm_writes_and_goes_on_elsewhere(lab: Lab, external: External, session: witness_vm.Session, sr: str) -> None:
    name = f"witness-{sr}"
    vm = witness_vm.create(session, sr, name)
    witness_vm.stop(lab, session, vm)
    first, second = lab.hosts[1].name, lab.hosts[0].name
    witness_vm.start(session, vm, first)
    acked = wait_for_acks(lab, first, name, 100)
    witness_vm.stop(lab, session, vm)
    found = start_and_read(lab, session, vm, second, name)
    assert found >= acked
    wait_for_acks(lab, second, name, found + 20)
    witness_vm.stop(lab, session, vm)
    (image,) = external.listed("ls", *PLACES[sr])
    made = json.loads(external.cluster.rbd("info", *PLACES[sr], image, "--format", "json"))
    assert made.get("data_pool") == (None if sr == SR else DATA_POOL)


def test_a_dead_hosts_vm_runs_elsewhere(lab: Lab, session: witness_vm.Session) -> None:
    """No monitor and no OSD goes with it: the lock that its keeper renews in the cluster runs out."""
    name, lost = "witness-restarts", lab.hosts[1].name
    vm = witness_vm.create(session, SR, name)
    witness_vm.stop(lab, session, vm)
    session.call("VM.add_to_other_config", vm, "shoal:restart", "true")
    witness_vm.start(session, vm, lost)
    acked = wait_for_acks(lab, lost, name, 100)
    since = time.monotonic()
    lab_cli("crash", lost)
    place = wait_elsewhere(session, vm, lost, since)
    wait_until_it_goes_on(lab, session, vm, name, acked)

    lab_cli("boot", lost, timeout_s=600)
    witness_vm.wait_for(lambda: plugged(session), all, timeout_s=BACK_S, what=f"the SRs to be plugged on {lost} again")
    assert host_of(session, vm) == place
    witness_vm.stop(lab, session, vm)


def test_destroy_leaves_the_cluster_to_its_keeper(
    lab: Lab, external: External, others: str, session: witness_vm.Session, shoal: Run, bare: str
) -> None:
    assert session.call("SR.get_by_name_label", SR)
    refused = shoal("destroy", "--pool", bare, spec=external.spec, timeout_s=180)
    assert refused.returncode == 1 and "virtual disks lie on SR" in refused.stderr, refused.stdout + refused.stderr
    words = ("destroy", "--pool", bare, "--with-disks")
    done = shoal(*words, spec=external.spec, timeout_s=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    again = shoal(*words, spec=external.spec, timeout_s=180)
    assert again.returncode == 0 and "nothing to do" in again.stdout, again.stdout + again.stderr
    assert differences(before_apply.noted(lab), before_apply.look(lab)) == []

    assert external.sh(CONTENT) == others
    witness_vm.wait_for(lambda: left(external), lambda seen: not seen, timeout_s=180, what="Shoal's images to go")
    assert "shoal.owner" not in external.sh("rados -p rbd -N xen ls; rados -p names ls")


def left(external: External) -> list[Any]:
    """Shoal's images, those in the trash among them."""
    found = []
    for place in PLACES.values():
        found += external.listed("ls", *place)
        found += external.listed("trash", "ls", "--all", *place)
    return found
