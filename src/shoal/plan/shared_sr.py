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
    namespace_target,
)


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for sr in spec.srs:
        change, reason = _judge(spec, facts, sr)
        settings = {
            "type": sr.type,
            "pool": sr.pool,
            "hosts": tuple(host.name for host in spec.hosts),
            **driver_settings(spec, sr),
            "device": device_of(sr) if sr.type == "lvm" else "",
        }
        actions.append(Action("shared_sr", sr.name, change, reason, needs=_needs(spec, sr), settings=settings))
    return tuple(actions)


def device_of(sr: model.Sr) -> str:
    """What an SR of type lvm lies on, in every dom0."""
    return image_device(image_in_pool(sr.pool, sr.name))


def driver_settings(spec: Spec, sr: model.Sr) -> dict[str, str]:
    """What the driver of an SR of type rbd must know, but for what is asked of a cluster of our own."""
    existing = spec.ceph.existing
    if existing is not None:
        volumes, user = existing.volume_services, existing.user
        known = {"monitors": ",".join(existing.monitors), "fsid": existing.fsid}
    else:
        volumes = tuple(f"{host.storage_vm.address}:{VOLUME_SERVICE_PORT}" for host in spec.hosts)
        user, known = KERNEL_USER.removeprefix("client."), {}
    places = {key: value for key, value in (("namespace", sr.namespace), ("data_pool", sr.data_pool)) if value}
    return {"user": user, "volumes": ",".join(volumes), **known, **places}


def _needs(spec: Spec, sr: model.Sr) -> frozenset[str]:
    kinds = ("toolstack", "volume_client") if sr.type == "rbd" else ("toolstack", "lvm_conf", "rbd_map")
    needs = {f"{kind}/{host.name}" for kind in kinds for host in spec.hosts}
    if spec.ceph.existing is not None:
        return frozenset(needs)
    needs |= {f"ceph_osd/{disk_target(host.name, number)}" for host, number, _ in numbered_disks(spec)}
    needs |= {f"{kind}/{CEPH_CLUSTER}" for kind in ("ceph_mons", "ceph_mgrs")}
    needs |= {f"ceph_user/{KERNEL_USER}", f"ceph_pool/{sr.pool}"}
    needs |= {f"ceph_pool/{sr.data_pool}"} if sr.data_pool else set()
    needs |= {f"ceph_namespace/{namespace_target(sr.pool, sr.namespace)}"} if sr.namespace else set()
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
        if stopped := _stopped(facts, host.name):
            return Change.UPDATE, stopped
        lack = (_other(spec, wanted, pbd) or _unknown_monitors(spec, facts, pbd)) if wanted.type == "rbd" else ""
        if lack:
            return Change.UPDATE, lack
    return Change.NONE, _summary(sr)


def _stopped(facts: Facts, host: str) -> str:
    """After a host's death its PBD says what was, until its toolstack has started again. So does its storage VM."""
    vm = facts.storage_vm(host)
    if vm is None or vm.power_state == "Running":
        return ""
    return f"the storage VM of {host} is {vm.power_state}: whether it is plugged there can be seen when it runs"


def _other(spec: Spec, wanted: model.Sr, pbd: Pbd) -> str:
    seen, data_pool = pbd.device_config.get("data_pool", ""), wanted.data_pool or ""
    if seen != data_pool:
        return f"the PBD of {pbd.host} keeps new data in {seen or wanted.pool!r}"
    if spec.ceph.existing is None:  # where these follow from the hosts, which are looked at themselves
        return ""
    settings = driver_settings(spec, wanted)
    other = [key for key in ("fsid", "user", "volumes") if pbd.device_config.get(key) != settings[key]]
    return f"the PBD of {pbd.host} has other {' and '.join(other)} than the spec" if other else ""


def _unknown_monitors(spec: Spec, facts: Facts, pbd: Pbd) -> str:
    if hidden_ceph(facts):
        return ""
    known = set(pbd.device_config.get("monitors", "").split(","))
    missing = sorted(monitor_addresses(spec, facts) - known)
    return f"the PBD of {pbd.host} does not know the monitor {', '.join(missing)}" if missing else ""


def _summary(sr: Sr) -> str:
    return f"plugged on {sum(pbd.attached for pbd in sr.pbds)} hosts"
