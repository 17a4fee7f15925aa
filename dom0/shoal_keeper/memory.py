"""What the keeper must remember between rounds: which starts it owes since the host's boot, and what failed when.

Pure, but for `load` and `save`. Only what is owed is kept on disk: the rest may be forgotten at any time.
"""

import json
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

from .state import NULL

FILE = "/var/lib/shoal/keeper.json"
# So long after all its SRs are plugged, a boot still owes starts: other hosts may come later, and with them the news
# that a VM of theirs is off.
OWED_S = 3600.0
FIRST_PAUSE_S = 3.0
LONGEST_PAUSE_S = 300.0
BOOTING_S = 600.0  # so long after a boot what fails fails for want of something that is on its way
BOOTING_PAUSE_S = 24.0
PATIENCE = 6  # failures after which one VM does not hold up those that come after it


class Tries(NamedTuple):
    count: int
    last_at: float
    why: str

    def next_at(self) -> float:
        longest_s = BOOTING_PAUSE_S if self.last_at < BOOTING_S else LONGEST_PAUSE_S
        return self.last_at + min(longest_s, FIRST_PAUSE_S * 2 ** (self.count - 1))


class Memory(NamedTuple):
    """`settled`: uuid of each VM whose start is not owed any more, and the uptime at which it was settled. `residents`: the
    VMs marked to start that run here, and since when; `lost`: those that did when the host went down.
    """

    boot: str
    owes_starts: bool = False
    plugged_at: Optional[float] = None
    settled: Dict[str, float] = {}
    tries: Dict[str, Tries] = {}
    residents: Dict[str, float] = {}
    lost: Dict[str, float] = {}

    def pause_s(self, key: str, uptime_s: float) -> float:
        """Seconds until the next try; 0 when it may be now."""
        tries = self.tries.get(key)
        return max(0.0, tries.next_at() - uptime_s) if tries else 0.0

    def has_given_up(self, key: str) -> bool:
        return key in self.tries and self.tries[key].count >= PATIENCE


def after_look(memory: Memory, seen) -> Memory:
    """What a look settles: a VM that was started since this boot is owed no start, and after a time none is."""
    is_going_down = not seen.host.enabled and not seen.host.told_to_rest  # then what stops, stops with the host
    if seen.pool.is_marked and not seen.pool.ha_enabled and not is_going_down:
        memory = memory._replace(residents=dict(seen.residents))
    if not memory.owes_starts:
        return memory
    settled, lost = dict(memory.settled), dict(memory.lost)
    for vm in seen.vms:
        if vm.power_state == "Running" and vm.resident_on not in (NULL, seen.host.ref):
            lost.pop(vm.uuid, None)  # it had been moved away before
        is_new = vm.started_at > seen.booted_at and vm.started_at != lost.get(vm.uuid)  # the clock may have been reset
        if vm.power_state == "Running" and vm.resident_on != NULL and is_new:
            settled.setdefault(vm.uuid, seen.uptime_s)
    plugged_at = memory.plugged_at
    pbds = seen.pbds + seen.lvm_pbds
    if plugged_at is None and pbds and all(pbd.attached for pbd in pbds):
        plugged_at = seen.uptime_s
    owes = plugged_at is None or seen.uptime_s < plugged_at + OWED_S
    return memory._replace(settled=settled, plugged_at=plugged_at, owes_starts=owes, lost=lost if owes else {})


def after_success(memory: Memory, action, uptime_s: float) -> Memory:
    tries = {key: value for key, value in memory.tries.items() if key != action.key}
    settled = dict(memory.settled)
    if action.kind == "start_vm":
        settled[action.vm] = uptime_s
    return memory._replace(tries=tries, settled=settled)


def after_failure(memory: Memory, action, uptime_s: float, why: str) -> Memory:
    count = memory.tries[action.key].count + 1 if action.key in memory.tries else 1
    return memory._replace(tries={**memory.tries, action.key: Tries(count, uptime_s, why)})


def load(boot: str) -> Memory:
    """A boot that is not the remembered one owes starts. So does one after a damaged file; a first run does not."""
    try:
        with open(FILE) as file:
            kept = json.load(file)
        residents, lost = (_times(kept.get(key, {})) for key in ("residents", "lost"))
        settled = _times(kept["settled"])
        if kept["boot"] != boot:
            # What an earlier boot had lost and not started yet is owed still.
            waiting = {uuid: since for uuid, since in lost.items() if uuid not in settled}
            return Memory(boot, owes_starts=True, lost={**waiting, **residents})
        plugged_at = None if kept["plugged_at"] is None else float(kept["plugged_at"])
        return Memory(boot, bool(kept["owes_starts"]), plugged_at, settled, residents=residents, lost=lost)
    except FileNotFoundError:
        return Memory(boot)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Memory(boot, owes_starts=True)


def _times(kept: Any) -> Dict[str, float]:
    return {str(uuid): float(at) for uuid, at in kept.items()}


def save(memory: Memory) -> None:
    folder = os.path.dirname(FILE)
    os.makedirs(folder, exist_ok=True)
    new = FILE + ".new"
    with open(new, "w") as file:
        json.dump(_kept(memory), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, FILE)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def differs(one: Memory, other: Memory) -> bool:
    """Whether saving makes a difference."""
    return _kept(one) != _kept(other)


def _kept(memory: Memory) -> Dict[str, Any]:
    kept = memory._asdict()  # type: Dict[str, Any]
    del kept["tries"]
    return kept
