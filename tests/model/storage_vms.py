"""What a storage VM's step does to the facts: a VM that is there keeps running and gets the disks that it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shoal import facts
from shoal.facts import Facts
from shoal.plan import storage_vm
from shoal.plan.action import Action
from shoal.spec.model import Spec
from shoal.spec.names import position_in_guest


def make_storage_vm(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    host = spec.host(action.target)
    made = facts.StorageVm(host.name, f"vm-{host.name}", "Halted", "", str(host.storage_vm.address), {"0": "system"})
    half = world.storage_vm(host.name) or made
    others = tuple(vm for vm in world.storage_vms if vm.host != host.name)
    yield replace(world, storage_vms=(*others, half))
    devices = {place: f"vdi {place}" for place in ("0", "1", *map(position_in_guest, host.disk_numbers))}
    digest = storage_vm.digest_of(storage_vm.settings_of(spec, host))
    yield replace(world, storage_vms=(*others, replace(half, disks=devices, settings_digest=digest)))
