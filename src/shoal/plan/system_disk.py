"""The storage VM's system disk: a VDI on the host's local SR, imported from the image."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, sr_named, vdi_in
from shoal.spec.model import Spec
from shoal.spec.names import system_disk_name

IMAGE_KEY = "shoal:image"  # in VDI.other_config, set when the import is complete: the image's sha256


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    wanted = facts.wanted_digests.get("storage_vm_image", "")
    actions = []
    for host in spec.hosts:
        settings = {
            "name": system_disk_name(host.name),
            "sr": spec.storage_vm.system_disk.sr,
            "size_bytes": spec.storage_vm.system_disk.size,
            "image": str(spec.storage_vm.image),
            "image_sha256": wanted,
        }
        change, reason = _judge(facts, host.name, spec.storage_vm.system_disk.sr, wanted)
        actions.append(Action("system_disk", host.name, change, reason, host=host.name, settings=settings))
    return tuple(actions)


def _judge(facts: Facts, host: str, sr_name: str, wanted: str) -> Verdict:
    sr = sr_named(facts, sr_name, host=host)
    vdi = vdi_in(facts, sr, system_disk_name(host)) if sr else None
    if vdi is None:
        return Change.CREATE, f"no disk {system_disk_name(host)!r} on SR {sr_name!r}"
    image = vdi.other_config.get(IMAGE_KEY, "")
    if not image:
        return Change.CREATE, "its import was not completed"
    if wanted and image != wanted:
        # The system disk holds the monitor's database: a new image never replaces it behind someone's back.
        return Change.NONE, "kept, although it was made from another image than the spec's"
    return Change.NONE, "imported"
