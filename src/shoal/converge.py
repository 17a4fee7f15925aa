"""The table of contents: observe → plan → apply. What a verb of the command line does, without its words."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from shoal import __version__
from shoal.clients.connections import Connections
from shoal.clients.pins import PinChanged
from shoal.engine.executor import Executor
from shoal.engine.journal import Journal
from shoal.engine.lock import PoolLock, hold
from shoal.engine.meanwhile import Meanwhile
from shoal.engine.outcome import Outcome, State, Watcher, Watchers
from shoal.facts import Facts, Maintenance, Remains, VirtualDisks
from shoal.kit.errors import ShoalError
from shoal.observe import observe
from shoal.observe.bundle import Piece, known_secrets, pieces
from shoal.observe.ceph_upgrade import hosts_in_maintenance, look_at_image, look_at_upgrade
from shoal.observe.maintenance import look_at_maintenance
from shoal.observe.remains import look_at_remains
from shoal.observe.virtual_disks import look_at_virtual_disks
from shoal.plan import ceph_upgrade
from shoal.plan.action import Plan
from shoal.plan.destroy import planner as destroy_planner
from shoal.plan.host_marks import WORK_LOCK
from shoal.plan.planner import make_plan
from shoal.spec.load import Document
from shoal.steps.registry import DESTROY_STEPS, DISK_STEPS, HOST_STEPS, MEMBER_STEPS, STEPS, UPGRADE_STEPS
from shoal.steps.step import Step
from shoal.steps.tools import Tools


@dataclass(frozen=True, slots=True)
class Result:
    """What an apply did. `outcomes` is empty when it refused, had nothing to do, or was told not to."""

    plan: Plan
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    observe_seconds: float = 0.0

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes.values() if outcome.state is State.FAILED)


async def look(document: Document, state: Path) -> Facts:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await observe(document.spec, connections)


async def plan(document: Document, state: Path) -> Plan:
    return make_plan(document.spec, await look(document, state))


Confirm = Callable[[Plan], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the verbs differ in: how they look and plan, what keeps others out meanwhile, and the steps they know."""

    plan: Callable[[Connections], Awaitable[Plan]]
    steps: Mapping[str, Step]
    locks: Callable[[Connections], tuple[PoolLock, ...]]  # taken in this order


async def _do(document: Document, state: Path, work: _Work, *, confirm: Confirm, watcher: Watcher) -> Result:
    """Under the locks: look, plan, ask, carry out. Nothing is touched while the plan has a problem."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections, AsyncExitStack() as held:
        await _log_in(connections)
        locks = work.locks(connections)
        for lock in locks:
            await held.enter_async_context(hold(lock))
        wanted = await work.plan(connections)
        observed = time.monotonic() - start
        is_wanted = bool(wanted.changes) and not wanted.problems
        if is_wanted:
            # A person may think for hours. What keepers do meanwhile the steps see: each looks before it acts.
            async with Meanwhile(connections.xenapi)() if locks else nullcontext():
                is_wanted = await confirm(wanted)
        if not is_wanted:
            return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
        journal_file = state / "journal.sqlite"
        outcomes = await _carry_out(wanted, connections, document, journal_file, watcher, steps=work.steps)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


async def apply(document: Document, state: Path, *, confirm: Confirm, watcher: Watcher) -> Result:
    """Under the pool's lock."""

    async def plan(connections: Connections) -> Plan:
        return make_plan(document.spec, await observe(document.spec, connections))

    return await _do(document, state, _Work(plan, STEPS, _pool_lock), confirm=confirm, watcher=watcher)


async def look_at_what_is_left(document: Document, state: Path) -> Remains:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await look_at_remains(connections)


async def destroy(
    document: Document,
    state: Path,
    options: destroy_planner.Options,
    *,
    confirm: Callable[[Remains, Plan], Awaitable[bool]],
    watcher: Watcher,
) -> Result:
    """The other way round: what of Shoal is there, what must go, ask, carry out."""
    seen: list[Remains] = []

    async def plan(connections: Connections) -> Plan:
        seen.append(await look_at_remains(connections))
        return destroy_planner.make_plan(document.spec, seen[0], options)

    work = _Work(plan, DESTROY_STEPS, _all_locks)
    return await _do(document, state, work, confirm=lambda wanted: confirm(seen[0], wanted), watcher=watcher)


async def plan_upgrade(document: Document, state: Path, image: str) -> Plan:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await _upgrade_plan(document, connections, image)


async def upgrade(document: Document, state: Path, image: str, *, confirm: Confirm, watcher: Watcher) -> Result:
    """Under the pool's lock, as apply: the two must not restart the same daemons."""

    async def plan(connections: Connections) -> Plan:
        return await _upgrade_plan(document, connections, image)

    return await _do(document, state, _Work(plan, UPGRADE_STEPS, _all_locks), confirm=confirm, watcher=watcher)


async def _upgrade_plan(document: Document, connections: Connections, image: str) -> Plan:
    facts = await observe(document.spec, connections)
    seen = None
    if facts.ceph is not None and not facts.ceph.unreachable and document.spec.ceph.existing is None:
        seen = await look_at_upgrade(await connections.ceph())
        marked = await hosts_in_maintenance(connections.xenapi)
        wanted = await look_at_image(connections, image)
        seen = replace(seen, maintenance=(*seen.maintenance, *marked), wanted=wanted)
    return ceph_upgrade.make_plan(document.spec, document.file, image, facts, seen)


@dataclass(frozen=True, slots=True)
class Collection:
    """What a support bundle is made of. `pieces` are read while the connections are open."""

    facts: Facts | None
    why_no_facts: str
    pieces: tuple[Piece, ...]
    secrets: frozenset[str]
    remarks: list[str]


@asynccontextmanager
async def collecting(document: Document, state: Path) -> AsyncIterator[Collection]:
    """Does without whatever does not answer, the pool included: then the host in pool.url is all that is known."""
    async with Connections(document.spec, state) as connections:
        facts, why = None, ""
        hosts = ["pool.url"]
        try:
            await _log_in(connections)
            facts = await observe(document.spec, connections)
            hosts = [host.name for host in facts.hosts]
        except ShoalError as error:
            why = f"{error.brief} {error.details}".strip()
            connections.know_dom0s({"pool.url": urlsplit(document.spec.pool.url).hostname or ""})
        secrets, remarks = await known_secrets(connections, hosts)
        yield Collection(facts, why, pieces(connections, hosts), frozenset(secrets), remarks)


async def look_at_disks(document: Document, state: Path) -> VirtualDisks:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await look_at_virtual_disks(connections.xenapi)


async def work_on_disks(
    document: Document, state: Path, make: Callable[[VirtualDisks], Plan], *, confirm: Confirm, watcher: Watcher
) -> Result:
    """Single disks, without the pool's lock: it may take hours, and touches nothing that `apply` makes."""

    async def plan(connections: Connections) -> Plan:
        return make(await look_at_virtual_disks(connections.xenapi))

    return await _do(document, state, _Work(plan, DISK_STEPS, lambda _: ()), confirm=confirm, watcher=watcher)


@dataclass(frozen=True, slots=True)
class HostWork:
    """Hosts that leave service or come back. `make` plans what a person is asked.

    `go_on` plans what follows, from a new look after each plan that was carried out, until it gives None.
    """

    names: tuple[str, ...]
    make: Callable[[Maintenance], Plan]
    go_on: Callable[[Maintenance], Plan | None] = lambda _: None


async def look_at_hosts(document: Document, state: Path, names: Sequence[str]) -> Maintenance:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await look_at_maintenance(connections, names)


async def work_on_hosts(
    document: Document,
    state: Path,
    work: HostWork,
    *,
    confirm: Confirm,
    announce: Callable[[Plan], None],
    watcher: Watcher,
) -> Result:
    """Under a lock of its own: keepers stand back from a pool where `apply` is at work, and this may take hours.

    What keeps `apply` away is the mark of a host in maintenance.
    """
    start, journal = time.monotonic(), state / "journal.sqlite"
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(_work_lock(connections)):
            wanted = work.make(await look_at_maintenance(connections, work.names))
            outcomes: dict[str, Outcome] = {}
            result = Result(wanted, seconds=time.monotonic() - start, observe_seconds=time.monotonic() - start)
            if wanted.problems or not wanted.changes or not await confirm(wanted):
                return result
            for number in count(1):
                done = await _carry_out(wanted, connections, document, journal, watcher, steps=HOST_STEPS)
                outcomes |= {f"{number}/{name}": outcome for name, outcome in done.items()}
                result = replace(result, outcomes=outcomes, seconds=time.monotonic() - start)
                if result.failures:
                    break
                further = work.go_on(await look_at_maintenance(connections, work.names))
                if further is None:
                    break
                wanted, result = further, replace(result, plan=further)
                if wanted.problems:
                    break
                announce(wanted)
    return result


async def work_on_members(
    document: Document, state: Path, make: Callable[[Facts], Plan], *, confirm: Confirm, watcher: Watcher
) -> Result:
    """Disks and hosts that come or go, under the pool's lock: `document` names all that are concerned."""

    async def plan(connections: Connections) -> Plan:
        return make(await observe(document.spec, connections))

    return await _do(document, state, _Work(plan, MEMBER_STEPS, _pool_lock), confirm=confirm, watcher=watcher)


def _pool_lock(connections: Connections) -> tuple[PoolLock, ...]:
    return (PoolLock(connections.xenapi),)


def _all_locks(connections: Connections) -> tuple[PoolLock, ...]:
    return (_work_lock(connections), PoolLock(connections.xenapi))


def _work_lock(connections: Connections) -> PoolLock:
    """Whoever takes hosts out of service, or all of it: taken before the pool's own lock."""
    return PoolLock(connections.xenapi, key=WORK_LOCK, who="other work on hosts")


async def _log_in(connections: Connections) -> None:
    try:
        await connections.xenapi.login()
    except PinChanged as error:
        error.where = error.where or "pool.url"
        raise


async def _carry_out(
    wanted: Plan,
    connections: Connections,
    document: Document,
    journal_file: Path,
    watcher: Watcher,
    *,
    steps: Mapping[str, Step],
) -> dict[str, Outcome]:
    journal = Journal(journal_file)
    journal.begin(shoal_version=__version__, spec_file=document.file)
    executor = Executor(steps, Watchers(journal, watcher))
    ended = "interrupted"
    try:
        xenapi = connections.xenapi
        alone, meanwhile = lambda: hold(PoolLock(xenapi)), Meanwhile(xenapi)
        tools = Tools(connections, executor.report, alone=alone, meanwhile=meanwhile)
        outcomes = await executor.run(wanted.actions, tools)
        failed = any(outcome.state is State.FAILED for outcome in outcomes.values())
        ended = "failed" if failed else "done"
        return outcomes
    finally:
        journal.end(ended)
        journal.close()
