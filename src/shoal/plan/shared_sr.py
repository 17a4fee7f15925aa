"""The shared SR: what all of this is for. One PBD per host, all plugged; each knows the whole of what serves the SR."""

from __future__ import annotations

from shoal.facts import Facts, Pbd, Sr
from shoal.plan.action import Action, Change
from shoal.plan.ceph_mons import monitor_addresses
from shoal.plan.found import Verdict, hidden_ceph, numbered_disks, sr_named
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import (
    CEPH_CLUSTER,
    KERNEL_USER,
    VOLUME_SERVICE_PORT,
    disk_target,
    image_device,
    image_in_pool,
)


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for sr in spec.srs:
        change, reason = _judge(spec, facts, sr)
        settings = {
            "type": sr.type,
            "pool": sr.pool,
            "hosts": tuple(host.name for host in spec.hosts),
            "user": KERNEL_USER.removeprefix("client."),
            "volumes": ",".join(f"{host.storage_vm.address}:{VOLUME_SERVICE_PORT}" for host in spec.hosts),
            "device": device_of(sr) if sr.type == "lvm" else "",
        }
        actions.append(Action("shared_sr", sr.name, change, reason, needs=_needs(spec, sr), settings=settings))
    return tuple(actions)


def device_of(sr: model.Sr) -> str:
    """What an SR of type lvm lies on, in every dom0."""
    return image_device(image_in_pool(sr.pool, sr.name))


def _needs(spec: Spec, sr: model.Sr) -> frozenset[str]:
    kinds = ("toolstack", "volume_client") if sr.type == "rbd" else ("toolstack", "lvm_conf", "rbd_map")
    needs = {f"{kind}/{host.name}" for kind in kinds for host in spec.hosts}
    needs |= {f"ceph_osd/{disk_target(host.name, number)}" for host, number, _ in numbered_disks(spec)}
    needs |= {f"{kind}/{CEPH_CLUSTER}" for kind in ("ceph_mons", "ceph_mgrs")}
    needs |= {f"ceph_user/{KERNEL_USER}", f"ceph_pool/{sr.pool}"}
    needs |= {f"volume_services/{CEPH_CLUSTER}"} if sr.type == "rbd" else {f"ceph_image/{sr.name}"}
    return frozenset(needs)


def _judge(spec: Spec, facts: Facts, wanted: model.Sr) -> Verdict:
    sr = sr_named(facts, wanted.name)
    if sr is None:
        return Change.CREATE, f"there is no SR {wanted.name!r}"
    for host in spec.hosts:
        pbd = next((pbd for pbd in sr.pbds if pbd.host == host.name), None)
        if pbd is None:
            return Change.UPDATE, f"no PBD on {host.name}"
        if not pbd.attached:
            return Change.UPDATE, f"not plugged on {host.name}"
        lack = _unknown_monitors(spec, facts, pbd) if wanted.type == "rbd" else ""
        if lack:
            return Change.UPDATE, lack
    return Change.NONE, _summary(sr)


def _unknown_monitors(spec: Spec, facts: Facts, pbd: Pbd) -> str:
    if hidden_ceph(facts):
        return ""
    known = set(pbd.device_config.get("monitors", "").split(","))
    missing = sorted(monitor_addresses(spec, facts) - known)
    return f"the PBD of {pbd.host} does not know the monitor {', '.join(missing)}" if missing else ""


def _summary(sr: Sr) -> str:
    return f"plugged on {sum(pbd.attached for pbd in sr.pbds)} hosts"
