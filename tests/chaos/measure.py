"""What one fault cost, in seconds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.faults import Fault
from tests.chaos.figures import Place, first_write_s, longest_silence_s, running_s
from tests.chaos.judge import Heard


@dataclass(slots=True)
class Case:
    """A fault on a host, where each VM was before, and when: begun, done, ended (by whoever ends it), all whole again.

    `up_s`: when the hosts were up again after a power cut.
    """

    fault: Fault
    host: str
    where: Mapping[str, str]
    began_s: float = 0.0
    struck_s: float = 0.0
    ended_s: float = 0.0
    whole_s: float = 0.0
    up_s: float = 0.0


def take(case: Case, heard: Sequence[Heard], places: Sequence[Place]) -> dict[str, float | None]:
    """The stall is of VMs whose host was not hit. None: it was to be measured, and did not come."""
    found: dict[str, float | None] = {}
    hit = [vm for vm in case.where if case.fault.takes_all or case.fault.takes_host and case.where[vm] == case.host]
    others = [vm for vm in case.where if vm not in hit]
    if others:
        found["io_stall_s"] = max(longest_silence_s(heard, vm, case.began_s, case.whole_s) for vm in others)
    if case.fault.takes_all:
        found |= _since(case.up_s or case.ended_s, case, heard, places, names=("all_running_s", "all_writing_s"))
    elif hit:
        found |= _since(case.struck_s, case, heard, places, names=("vm_elsewhere_s", "vm_writes_elsewhere_s"))
    found["whole_again_s"] = round(case.whole_s - case.ended_s, 1)
    return found


def _since(
    since_s: float, case: Case, heard: Sequence[Heard], places: Sequence[Place], *, names: tuple[str, str]
) -> dict[str, float | None]:
    """When the last of the VMs that were hit ran, as the pool says, and when the last of them was heard to write.

    Between the two lie the guest's boot, on an emulated CPU, and its reading of all its records.
    """
    left = "" if case.fault.takes_all else case.host
    vms = [vm for vm in case.where if case.fault.takes_all or case.where[vm] == case.host]
    writes = {vm: first_write_s(heard, vm, case.struck_s, not_on=left) for vm in vms}
    runs = {vm: running_s(places, vm, case.struck_s, at, not_on=left) if at else None for vm, at in writes.items()}
    found: dict[str, float | None] = {}
    for name, times in zip(names, (runs, writes), strict=True):
        known = [at - since_s for at in times.values() if at is not None]
        found[name] = round(max(known), 1) if len(known) == len(vms) else None
    return found
