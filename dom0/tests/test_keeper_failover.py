"""A dead host's VMs start elsewhere, and never while anybody may still write to their disks.

The model is a pool of three hosts that crash, are cut off, come back, with keepers that are killed, or go on with what they
decided long ago. A keeper looks again right before each step, but for those that follow from another; the pool's database and Ceph do
each call in one go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dom0.shoal_keeper import failover, failover_leftover
from dom0.shoal_keeper.failover import ABANDONED_S, ISOLATED_S, SUSPECT_S, Guest, Peer, Sight, Step
from dom0.shoal_keeper.failover_watch import FOLLOWED, FOLLOWING

HOSTS = ("a", "b", "c")
VMS = ("v1", "v2")


@dataclass
class Host:
    is_on: bool = True
    is_cut: bool = False
    client: str = ""  # its Ceph client since its last boot
    toolstack_hangs: bool = False
    silent_s: float = 0.0

    @property
    def is_there(self) -> bool:
        return self.is_on and not self.is_cut


@dataclass
class Vm:
    """`runs_on` is the truth; `power_state`, `resident_on` and `claim` are what the pool's database says."""

    power_state: str = "Halted"
    resident_on: str = ""
    claim: str = ""
    is_abandoned: bool = False  # its claim is old, and nothing is done with it
    runs_on: dict[str, str] = field(default_factory=dict)  # host → the Ceph client that it writes through
    left: dict[str, str] = field(default_factory=dict)  # the same of a start that broke off, or is only slow
    holders: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Keeper:
    steps: list[Step] = field(default_factory=list)  # decided, not done
    sight: Sight | None = None  # the last one, with what was done since: what follows from that is done without another


class World:
    def __init__(self) -> None:
        self.boots = 0
        self.hosts = {name: Host() for name in HOSTS}
        self.keepers = {name: Keeper() for name in HOSTS}
        self.vms = {name: Vm() for name in VMS}
        self.locks: dict[str, str] = {}
        self.blocklist: set[str] = set()
        for name in HOSTS:
            self._new_client(name)

    def _new_client(self, host: str) -> None:
        self.boots += 1
        self.hosts[host].client = f"192.0.2.{HOSTS.index(host)}:0/{self.boots}"

    # What happens

    def start_vm(self, vm: str, host: str, *, by_person: bool = False, breaks_off: bool = False) -> None:
        """xapi's VM.start_on: the record says off, the host is there, its client may write.

        A person relies on the disk's own lock, which refuses a second writer; keepers may not need it. `breaks_off`:
        the host is cut off when the VM runs already, and the record does not say so yet.
        """
        row, place = self.vms[vm], self.hosts[host]
        if row.power_state != "Halted" or not place.is_there or place.client in self.blocklist:
            return
        writers = self.writers(vm) + [other for other, client in row.left.items() if client not in self.blocklist]
        if writers and by_person:
            return
        assert not writers, f"{vm} is started on {host} while {writers} may write to its disk"
        if breaks_off:
            place.is_cut = True
        else:
            row.power_state, row.resident_on = "Running", host
        row.runs_on[host] = place.client
        row.holders = {(other, client) for other, client in row.holders if client not in self.blocklist}
        row.holders.add((host, place.client))

    def leave_map(self, vm: str, host: str) -> None:
        """A start that breaks off, or is only slow: the kernel has the disk's lock, by a client of this disk alone."""
        row, place = self.vms[vm], self.hosts[host]
        unfenced = {client for _, client in row.holders} - self.blocklist
        if row.power_state == "Halted" and place.is_there and not unfenced:
            self.boots += 1
            row.left[host] = f"192.0.2.{HOSTS.index(host)}:0/{self.boots}"
            row.holders.add((host, row.left[host]))

    def go_on(self, vm: str, host: str) -> None:
        """It was only slow; and the record does not say so yet."""
        row = self.vms[vm]
        if host in row.left and self.hosts[host].is_on:
            row.runs_on[host] = row.left.pop(host)

    def let_go(self, host: str) -> None:
        """What the host's keeper does with it after a while."""
        sight = self.sight(host)
        for vm, addresses in failover_leftover.left(sight) if sight.has_quorum else ():
            if host not in self.vms[vm].runs_on:
                self.blocklist |= addresses

    def crash(self, host: str) -> None:
        self.hosts[host].is_on = False
        self.keepers[host] = Keeper()
        for vm in self.vms.values():
            vm.left.pop(host, None)
            vm.runs_on.pop(host, None)  # but Ceph does not know, and neither does the pool

    def boot(self, host: str) -> None:
        self.hosts[host].is_on = True
        self._new_client(host)
        self.resynchronise(host)

    def resynchronise(self, host: str) -> None:
        """A toolstack that is back in the pool tells what runs there, of what is said to."""
        for vm in self.vms.values():
            if self.hosts[host].is_there and vm.resident_on == host and host not in vm.runs_on:
                vm.power_state, vm.resident_on = "Halted", ""

    def stop_vm(self, vm: str, host: str) -> None:
        row = self.vms[vm]
        client = row.runs_on.pop(host, self.hosts[host].client)
        if self.hosts[host].is_there:
            row.holders.discard((host, client))
            if row.resident_on == host:
                row.power_state, row.resident_on = "Halted", ""

    def pass_time(self) -> None:
        for host in self.hosts.values():
            host.silent_s = 0.0 if host.is_there else host.silent_s + SUSPECT_S

    # What keepers see and do

    def sight(self, own: str) -> Sight:
        host = self.hosts[own]
        quorum = host.is_there and sum(each.is_there for each in self.hosts.values()) > len(HOSTS) / 2
        if not quorum:
            guests = tuple(Guest(n, "Running", own, True, "") for n, vm in self.vms.items() if own in vm.runs_on)
            return Sight(own, False, ISOLATED_S, (), guests, {}, frozenset())
        peers = tuple(
            Peer(
                name, each.is_there and not each.toolstack_hangs, each.is_there, each.is_there, each.silent_s, 1 << 30,
                each.is_there and each.client not in self.blocklist,
            )
            for name, each in self.hosts.items()
        )  # fmt: skip
        guests = tuple(
            Guest(
                name, vm.power_state, vm.resident_on, True, vm.claim, frozenset(vm.holders),
                claim_idle_s=ABANDONED_S if vm.is_abandoned and vm.power_state == "Halted" else 0.0,
            )
            for name, vm in self.vms.items()
        )  # fmt: skip
        strays = tuple(name for name, vm in self.vms.items() if own in vm.runs_on and vm.resident_on != own)
        return Sight(own, True, 0.0, peers, guests, dict(self.locks), frozenset(self.blocklist), strays)

    def look(self, own: str) -> None:
        self.keepers[own].steps = list(failover.decide(self.sight(own)))

    def act(self, own: str, number: int) -> None:
        """One of the steps that were decided, if a new look still says so."""
        keeper = self.keepers[own]
        step = keeper.steps.pop(number % len(keeper.steps))
        sight = self.sight(own)
        if step in failover.decide(sight):
            if step.kind == failover.TAKE_OVER:
                assert self.vms[step.vm].is_abandoned or not self.hosts[self.vms[step.vm].claim].is_there
            self.perform(own, step)
            keeper.sight = failover.after(sight, step) if step.kind in FOLLOWED else None

    def follow(self, own: str, number: int) -> None:
        """One of the steps that follow from the one before; whatever has happened meanwhile."""
        keeper = self.keepers[own]
        steps = [step for step in failover.decide(keeper.sight) if step.kind in FOLLOWING] if keeper.sight else []
        if keeper.sight and steps:
            step = steps[number % len(steps)]
            vm = self.vms[step.vm]
            claim = {failover.CLAIM: "", failover.TAKE_OVER: step.about, failover.RESET: own}[step.kind]
            if vm.claim == claim and (step.kind != failover.RESET or vm.resident_on == step.about):
                self.perform(own, step)
                keeper.sight = failover.after(keeper.sight, step)

    def perform(self, own: str, step: Step) -> None:
        vm = self.vms.get(step.vm, Vm())
        if step.kind in (failover.RESET, failover.START, failover.RELEASE):
            assert vm.claim == own, f"{own} acts on {step.vm}, which {vm.claim or 'nobody'} has in hand"
        if step.kind == failover.TAKE_LOCK:
            self.locks.setdefault(step.about, own)
        elif step.kind == failover.FENCE:
            assert not self.hosts[step.about].is_there, f"{step.about} is fenced and well"
            self.blocklist |= step.addresses
        elif step.kind == failover.CLAIM:
            vm.claim = vm.claim or own
            vm.is_abandoned = False
        elif step.kind == failover.TAKE_OVER:
            vm.claim, vm.is_abandoned = own, False
        elif step.kind == failover.RESET:
            vm.power_state, vm.resident_on = "Halted", ""
        elif step.kind == failover.START:
            self.start_vm(step.vm, step.place)
        elif step.kind == failover.RELEASE:
            vm.claim = ""
        else:
            self.stop_vm(step.vm, own)

    def writers(self, vm: str) -> list[str]:
        return [host for host, client in self.vms[vm].runs_on.items() if client not in self.blocklist]


hosts, vms = st.sampled_from(HOSTS), st.sampled_from(VMS)


class Pool(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        for vm in VMS:
            self.world.start_vm(vm, "a", by_person=True)

    @rule(host=hosts)
    def crash(self, host: str) -> None:
        self.world.crash(host)

    @rule(host=hosts)
    def cut(self, host: str) -> None:
        self.world.hosts[host].is_cut = True

    @rule(host=hosts, is_cut=st.booleans())
    def lose(self, host: str, is_cut: bool) -> None:
        """One alone, and for long enough."""
        for other in HOSTS:
            self.come_back(other)
        (self.cut if is_cut else self.crash)(host)
        self.pass_time()

    @rule(host=hosts)
    def come_back(self, host: str) -> None:
        if not self.world.hosts[host].is_on:
            self.world.boot(host)
        self.world.hosts[host].is_cut = False
        self.world.resynchronise(host)

    @rule(host=hosts)
    def hang_toolstack(self, host: str) -> None:
        self.world.hosts[host].toolstack_hangs = not self.world.hosts[host].toolstack_hangs

    @rule(host=hosts)
    def kill_keeper(self, host: str) -> None:
        self.world.keepers[host] = Keeper()

    @rule()
    def pass_time(self) -> None:
        self.world.pass_time()

    @precondition(lambda self: self.world.locks)
    @rule(data=st.data())
    def expire_lock(self, data: st.DataObject) -> None:
        del self.world.locks[data.draw(st.sampled_from(sorted(self.world.locks)))]

    @rule(vm=vms, host=hosts, breaks_off=st.booleans())
    def person_starts(self, vm: str, host: str, breaks_off: bool) -> None:
        self.world.start_vm(vm, host, by_person=True, breaks_off=breaks_off)

    @rule(vm=vms, host=hosts)
    def leave_map(self, vm: str, host: str) -> None:
        self.world.leave_map(vm, host)

    @rule(vm=vms, host=hosts)
    def go_on(self, vm: str, host: str) -> None:
        self.world.go_on(vm, host)

    @precondition(lambda self: any(vm.claim and vm.power_state == "Halted" for vm in self.world.vms.values()))
    @rule()
    def wait_long(self) -> None:
        """Whoever has claimed what is off does nothing: its toolstack hangs. It goes on later."""
        for vm in self.world.vms.values():
            vm.is_abandoned = bool(vm.claim) and vm.power_state == "Halted"

    @rule(host=hosts)
    def let_go(self, host: str) -> None:
        if self.world.hosts[host].is_on:
            self.world.let_go(host)

    @rule(vm=vms)
    def person_stops(self, vm: str) -> None:
        resident = self.world.vms[vm].resident_on
        if resident and self.world.hosts[resident].is_there:
            self.world.stop_vm(vm, resident)

    @rule(host=hosts)
    def look(self, host: str) -> None:
        if self.world.hosts[host].is_on:
            self.world.look(host)

    @rule(host=hosts, number=st.integers(0, 5))
    def act(self, host: str, number: int) -> None:
        if self.world.hosts[host].is_on and self.world.keepers[host].steps:
            self.world.act(host, number)

    @rule(host=hosts, number=st.integers(0, 5))
    def follow(self, host: str, number: int) -> None:
        if self.world.hosts[host].is_on:
            self.world.follow(host, number)

    @rule(host=hosts, acts_max=st.integers(1, 30), follows=st.booleans())
    def work(self, host: str, acts_max: int, follows: bool) -> None:
        """Look and do all of it, a few times over, until it is held up: histories that get somewhere."""
        for _ in range(6):
            self.look(host)
            while self.world.hosts[host].is_on and self.world.keepers[host].steps and acts_max:
                self.world.act(host, 0)
                acts_max -= 1
                if follows:
                    self.world.follow(host, 0)

    @invariant()
    def no_disk_has_two_writers(self) -> None:
        for vm in VMS:
            assert len(self.world.writers(vm)) <= 1, f"{vm}: {self.world.writers(vm)}"


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def work(world: World, *names: str, rounds: int = 12) -> None:
    for _ in range(rounds):
        for name in names:
            world.look(name)
            while world.keepers[name].steps:
                world.act(name, 0)


def test_a_dead_hosts_vm_runs_elsewhere_and_is_let_go() -> None:
    world = World()
    world.start_vm("v1", "a")
    world.crash("a")
    world.pass_time()
    work(world, "b", "c")
    vm = world.vms["v1"]
    assert (vm.power_state, vm.claim, len(vm.runs_on)) == ("Running", "", 1)
    assert set(vm.runs_on) <= {"b", "c"}


def test_a_host_that_is_cut_off_is_fenced_first_and_stops_its_own() -> None:
    world = World()
    world.start_vm("v1", "a")
    world.hosts["a"].is_cut = True
    world.pass_time()
    work(world, "b", "c")
    assert len(world.vms["v1"].runs_on) == 2 and len(world.writers("v1")) == 1
    work(world, "a")
    assert set(world.vms["v1"].runs_on) <= {"b", "c"}


def test_a_claim_whose_holder_dies_is_taken_over() -> None:
    world = World()
    world.start_vm("v1", "a")
    world.crash("a")
    world.pass_time()
    while world.vms["v1"].claim != "b":
        world.look("b")
        world.act("b", 0)
    world.boot("a")  # two of three are needed for a quorum
    world.vms["v1"].power_state, world.vms["v1"].resident_on = "Halted", ""
    world.crash("b")
    world.pass_time()
    work(world, "c")
    assert (world.vms["v1"].power_state, world.vms["v1"].claim) == ("Running", "")


def test_without_quorum_nothing_is_done_but_stopping_ones_own() -> None:
    world = World()
    world.start_vm("v1", "a")
    world.crash("a")
    world.crash("b")
    world.pass_time()
    work(world, "c")
    assert world.vms["v1"].power_state == "Running" and not world.vms["v1"].runs_on
