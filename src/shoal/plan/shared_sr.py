"""The shared SR: what all of this is for. One PBD per host, each knowing all monitors, all plugged."""

from __future__ import annotations

from shoal.facts import Facts, Pbd, Sr
from shoal.plan.action import Action, Change
from shoal.plan.ceph_mons import mon_hosts
from shoal.plan.found import Verdict, hidden_ceph, numbered_disks, sr_named
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import KERNEL_USER, VOLUME_SERVICE_PORT, disk_target

MON_V1_PORT = 6789


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    hosts = [host.name for host in spec.hosts]
    needs = {f"{kind}/{name}" for kind in ("toolstack", "volume_client") for name in hosts}
    needs |= {f"ceph_osd/{disk_target(host.name, number)}" for host, number, _ in numbered_disks(spec)}
    needs |= {f"{kind}/cluster" for kind in ("ceph_mons", "ceph_mgrs", "volume_services")}
    needs |= {f"ceph_user/{KERNEL_USER}"}
    actions = []
    for sr in spec.srs:
        change, reason = _judge(spec, facts, sr)
        settings = {
            "type": sr.type,
            "pool": sr.pool,
            "user": KERNEL_USER.removeprefix("client."),
            "hosts": tuple(hosts),
            "volumes": ",".join(f"{host.storage_vm.address}:{VOLUME_SERVICE_PORT}" for host in spec.hosts),
        }
        all_needs = frozenset(needs | {f"ceph_pool/{sr.pool}"})
        actions.append(Action("shared_sr", sr.name, change, reason, needs=all_needs, settings=settings))
    return tuple(actions)


def _judge(spec: Spec, facts: Facts, wanted: model.Sr) -> Verdict:
    sr = sr_named(facts, wanted.name)
    if sr is None:
        return Change.CREATE, f"there is no SR {wanted.name!r}"
    for host in spec.hosts:
        pbd = next((pbd for pbd in sr.pbds if pbd.host == host.name), None)
        lack = _lack(spec, facts, host.name, pbd)
        if lack:
            return Change.UPDATE, lack
    return Change.NONE, _summary(sr)


def _lack(spec: Spec, facts: Facts, host: str, pbd: Pbd | None) -> str:
    if pbd is None:
        return f"no PBD on {host}"
    if not pbd.attached:
        return f"not plugged on {host}"
    if hidden_ceph(facts):
        return ""
    known = set(pbd.device_config.get("monitors", "").split(","))
    missing = sorted(monitors(spec, facts) - known)
    return f"the PBD of {host} does not know the monitor {', '.join(missing)}" if missing else ""


def monitors(spec: Spec, facts: Facts) -> set[str]:
    """The monitors' v1 addresses as a PBD names them: those that there are, or are about to be."""
    if facts.ceph and facts.ceph.mons:
        return {f"{mon.address}:{mon.v1_port}" for mon in facts.ceph.mons if mon.v1_port}
    return {f"{host.storage_vm.address}:{MON_V1_PORT}" for host in mon_hosts(spec)}


def _summary(sr: Sr) -> str:
    return f"plugged on {sum(pbd.attached for pbd in sr.pbds)} hosts"
