"""Keepers on a pool in memory: whatever went wrong before, once it stops going wrong everything comes back, in order.

The pool says only what becomes of an action; what is decided, and what is remembered, is the keeper's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dom0.shoal_keeper.decide import decide
from dom0.shoal_keeper.memory import Memory, after_failure, after_look, after_success
from dom0.shoal_keeper.state import NULL, Action, Ceph, Host, Pbd, Pool, Seen, Vm

HOSTS = ("a", "b", "c")
ROUND_S = 5.0
ROUNDING_S = 1e-6  # the uptime is a difference of two clocks, added up of fractions
MONITORS = ("192.0.2.1:6789", "192.0.2.2:6789")


@dataclass
class Machine:
    is_on: bool = True
    booted_at: float = 0.0
    memory: Memory = field(default_factory=lambda: Memory("first"))
    storage_vm_runs: bool = True
    attached: bool = True
    monitors: tuple[str, ...] = MONITORS


@dataclass
class Guest:
    affinity: str
    order: int
    start_delay_s: int
    failures: int = 0  # of the next starts
    resident_on: str = ""
    started_at: float = -1.0
    starts: int = 0


class World:
    """Time only moves on. After a power cut the records of VMs stay as they were until their host is back."""

    def __init__(self, guests: dict[str, Guest]) -> None:
        self.now = 0.0
        self.boots = 0
        self.machines = {name: Machine() for name in HOSTS}
        self.guests = guests

    @property
    def is_up(self) -> bool:
        return sum(machine.is_on and machine.storage_vm_runs for machine in self.machines.values()) >= 2

    def cut_power(self, *names: str) -> None:
        for name in names:
            self.machines[name].is_on = False

    def boot(self, name: str) -> None:
        machine = self.machines[name]
        if machine.is_on:
            return
        self.now += 1
        self.boots += 1
        machine.is_on, machine.booted_at = True, self.now
        machine.storage_vm_runs = machine.attached = False
        machine.memory = Memory(f"boot {self.boots}", owes_starts=True)  # as `load` does on a new boot
        for guest in self.guests.values():
            if guest.resident_on == name:
                guest.resident_on = ""

    def see(self, name: str) -> Seen:
        machine = self.machines[name]
        ceph = Ceph("", "fsid", MONITORS, "HEALTH_OK") if self.is_up else Ceph("no quorum")
        lacking = tuple(other for other, each in self.machines.items() if each.is_on and not each.attached)
        pbd = Pbd("pbd", "pbd", "sr", "shoal", machine.attached, machine.monitors, "fsid", lacking=lacking)
        state = ("Running", name) if machine.storage_vm_runs else ("Halted", NULL)
        return Seen(
            self.now - machine.booted_at,
            machine.booted_at,
            Pool("pool", True, keeps_ceph=True, ha_enabled=False, is_master=name == "a", apply_at_work=False),
            Host(name, name, name, enabled=True, told_to_rest=False),
            Vm("storage", "storage", "storage", *state, name, is_busy=False),
            ceph,
            (pbd,),
            (),
            tuple(self._vm(uuid, guest) for uuid, guest in self.guests.items() if self._is_of(guest, name)),
        )

    def _is_of(self, guest: Guest, name: str) -> bool:
        return guest.affinity == name or (guest.affinity == NULL and name == "a")

    def _vm(self, uuid: str, guest: Guest) -> Vm:
        state = "Running" if guest.resident_on else "Halted"
        return Vm(
            uuid, uuid, uuid, state, guest.resident_on or NULL, guest.affinity, is_busy=False, order=guest.order,
            start_delay_s=guest.start_delay_s, started_at=max(0.0, guest.started_at), srs=("sr",),
        )  # fmt: skip

    def work(self, name: str) -> list[Action]:
        """One round of a host's keeper."""
        machine = self.machines[name]
        if not machine.is_on:
            return []
        seen = self.see(name)
        machine.memory = after_look(machine.memory, seen)
        known = machine.memory
        decision = decide(seen, known)
        for action in decision.actions:
            why = self._carry_out(name, action, known)
            uptime_s = self.now - machine.booted_at
            if why:
                machine.memory = after_failure(machine.memory, action, uptime_s, why)
            else:
                machine.memory = after_success(machine.memory, action, uptime_s)
        return list(decision.actions)

    def _carry_out(self, name: str, action: Action, known: Memory) -> str:
        machine = self.machines[name]
        if action.kind == "start_storage_vm":
            assert not machine.storage_vm_runs
            machine.storage_vm_runs = True
        elif action.kind == "refresh":
            machine.monitors = action.monitors
        elif action.kind == "plug":
            if not self.is_up:
                return "SR_BACKEND_FAILURE_47"
            machine.attached = True
        else:
            place = action.place or next(other for other in HOSTS if self.machines[other].attached)
            return self._start(name, action.vm, place, known)
        return ""

    def _start(self, keeper: str, vm: str, place: str, memory: Memory) -> str:
        """`memory` as it was when the round was decided: one that starts at last in that very round was waited for by nobody."""
        guest = self.guests[vm]
        assert not guest.resident_on, f"{vm} is started and runs"
        for other, before in self.guests.items():
            if self._is_of(before, keeper) and before.order < guest.order:
                done = other in memory.settled or before.resident_on or memory.has_given_up(f"start_vm/{other}")
                assert done, f"{vm} is started before {other}"
                if other in memory.settled:
                    waited_s = self.now - self.machines[keeper].booted_at - memory.settled[other]
                    assert waited_s > before.start_delay_s - ROUNDING_S, f"{vm} does not wait for {other}"
        if guest.failures:
            guest.failures -= 1
            return "HOST_NOT_ENOUGH_FREE_MEMORY"
        guest.resident_on, guest.started_at, guest.starts = place, self.now, guest.starts + 1
        return ""

    def settle(self, *, rounds: int = 600) -> None:
        """Let all keepers work until they have nothing more to do for a while."""
        calm = 0
        for _ in range(rounds):
            self.now += ROUND_S
            calm = 0 if any([self.work(name) for name in HOSTS]) else calm + 1
            if calm > 80:  # longer than any pause or delay
                return
        raise AssertionError("the keepers never come to rest")


guests = st.builds(
    Guest, st.sampled_from([*HOSTS, NULL]), st.integers(0, 2), st.sampled_from([0, 0, 30]), st.sampled_from([0, 0, 1, 7])
)  # fmt: skip
worlds = st.lists(guests, max_size=5).map(lambda found: World({f"vm{n}": guest for n, guest in enumerate(found)}))
NAMES = st.sampled_from(HOSTS)


def disturb(world: World, data: st.DataObject) -> None:
    what = data.draw(st.sampled_from(["cut", "cut all", "boot", "boot", "work", "work", "kill", "unplug", "monitors"]))
    name = data.draw(NAMES)
    machine = world.machines[name]
    world.now += data.draw(st.floats(0.1, 100))
    if what == "cut":
        world.cut_power(name)
    elif what == "cut all":
        world.cut_power(*HOSTS)
    elif what == "boot":
        world.boot(name)
    elif what == "work":
        for host in HOSTS:
            world.work(host)
    elif what == "kill":  # the keeper: what is on disk stays
        machine.memory = machine.memory._replace(tries={})
    elif what == "unplug":
        machine.attached = False
    else:
        machine.monitors = MONITORS[:1]


@given(st.data(), worlds)
@settings(deadline=None, max_examples=150)
def test_all_comes_back_in_order(data: st.DataObject, world: World) -> None:
    world.cut_power(*HOSTS)
    for _ in range(data.draw(st.integers(0, 12))):
        disturb(world, data)
    for name in HOSTS:
        world.boot(name)
    world.settle()
    for machine in world.machines.values():
        assert (machine.storage_vm_runs, machine.attached, machine.monitors) == (True, True, MONITORS)
    for uuid, guest in world.guests.items():
        keeper = world.machines["a" if guest.affinity == NULL else guest.affinity]
        # One that ran on another host when that one lost its power, and not its keeper's, is not owed for that.
        if keeper.memory.owes_starts and uuid not in keeper.memory.settled:
            assert guest.resident_on, f"{uuid} does not run"


@given(st.data(), worlds)
@settings(deadline=None, max_examples=60)
def test_what_a_person_shuts_down_stays_off(data: st.DataObject, world: World) -> None:
    world.cut_power(*HOSTS)
    for name in HOSTS:
        world.boot(name)
    world.settle()
    starts = {}
    for uuid, guest in world.guests.items():
        assert guest.resident_on
        if data.draw(st.booleans()):
            guest.resident_on = ""
            starts[uuid] = guest.starts
    world.settle()
    for uuid, count in starts.items():
        assert not world.guests[uuid].resident_on
        assert world.guests[uuid].starts == count == 1
