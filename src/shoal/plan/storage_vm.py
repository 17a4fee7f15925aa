"""The storage VM of each host: one VM, its disks, its address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import disk_name, position_in_guest, storage_vm_name, system_disk_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        settings = settings_of(spec, host)
        digest = digest_of(settings)
        change, reason = _judge(spec, facts, host)
        needs = frozenset({f"system_disk/{host.name}", f"passthrough_sr/{host.name}", "pool_key/pool"})
        actions.append(
            Action(
                "storage_vm",
                host.name,
                change,
                reason,
                host.name,
                needs,
                {**settings, **disks_of(host), "digest": digest},
            )
        )
    return tuple(actions)


def settings_of(spec: Spec, host: model.Host) -> dict[str, object]:
    lan = spec.network.public
    return {
        "name": storage_vm_name(host.name),
        "address": str(host.storage_vm.address),
        "prefix": lan.cidr.prefixlen,
        "gateway": str(lan.gateway) if lan.gateway else None,
        "dns": tuple(map(str, spec.network.dns)),
        "ntp": spec.network.ntp,
        "bridge": lan.bridge,
        "vcpus": spec.storage_vm.vcpus,
        "memory_bytes": spec.storage_vm.memory,
        "system_disk": system_disk_name(host.name),
    }


def disks_of(host: model.Host) -> dict[str, object]:
    """The OSD disks by their place in the VM. No part of the digest: disks come and go while it runs."""
    places = {position_in_guest(number): disk_name(host.name, number) for number in host.disk_numbers}
    return {"disks": places}


def is_made_from(spec: Spec, host: model.Host, digest: str) -> bool:
    """Whether a VM with this digest is the spec's, disks aside. Earlier versions counted the disks in."""
    settings = settings_of(spec, host)
    before = ({**settings, "disks": tuple(disk_name(host.name, n) for n in range(1, count + 1))} for count in range(25))
    return digest in (digest_of(settings), *map(digest_of, before))


def digest_of(settings: Mapping[str, object]) -> str:
    """What the VM's other_config shoal:settings holds once it is complete."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _judge(spec: Spec, facts: Facts, host: model.Host) -> Verdict:
    vm = facts.storage_vm(host.name)
    if vm is None:
        return Change.CREATE, f"there is no VM {storage_vm_name(host.name)!r}"
    if not vm.settings_digest:
        return Change.UPDATE, "it was not completed"
    if not is_made_from(spec, host, vm.settings_digest):
        return Change.UPDATE, "the spec has changed since it was made"
    wanted = ("0", "1", *map(position_in_guest, host.disk_numbers))
    missing = [position for position in wanted if position not in vm.disks]
    if missing:
        return Change.UPDATE, f"it lacks its disk {', '.join(missing)}"
    return Change.NONE, "as in the spec"
