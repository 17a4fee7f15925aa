"""The table of contents: observe → plan → apply. What a verb of the command line does, without its words."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
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
from shoal.engine.outcome import Outcome, State, Watcher, Watchers
from shoal.facts import Facts, Maintenance, Remains, VirtualDisks
from shoal.kit.errors import ShoalError
from shoal.observe import observe
from shoal.observe.bundle import Piece, known_secrets, pieces
from shoal.observe.ceph_upgrade import hosts_in_maintenance, look_at_upgrade
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


async def apply(
    document: Document, state: Path, *, confirm: Callable[[Plan], Awaitable[bool]], watcher: Watcher
) -> Result:
    """Under the pool's lock: look, plan, ask, carry out. Nothing is touched while the plan has a problem."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(PoolLock(connections.xenapi)):
            facts = await observe(document.spec, connections)
            observed = time.monotonic() - start
            wanted = make_plan(document.spec, facts)
            if wanted.problems or not wanted.changes or not await confirm(wanted):
                return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
            outcomes = await _carry_out(wanted, connections, document, state / "journal.sqlite", watcher)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


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
    """Under the pool's lock, the other way round: what of Shoal is there, what must go, ask, carry out."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(PoolLock(connections.xenapi)):
            seen = await look_at_remains(connections)
            observed = time.monotonic() - start
            wanted = destroy_planner.make_plan(document.spec, seen, options)
            if wanted.problems or not wanted.changes or not await confirm(seen, wanted):
                return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
            journal_file = state / "journal.sqlite"
            outcomes = await _carry_out(wanted, connections, document, journal_file, watcher, steps=DESTROY_STEPS)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


async def plan_upgrade(document: Document, state: Path, image: str) -> Plan:
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        return await _upgrade_plan(document, connections, image)


async def upgrade(
    document: Document,
    state: Path,
    image: str,
    *,
    confirm: Callable[[Plan], Awaitable[bool]],
    watcher: Watcher,
) -> Result:
    """Under the pool's lock, as apply: the two must not restart the same daemons."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(PoolLock(connections.xenapi)):
            wanted = await _upgrade_plan(document, connections, image)
            observed = time.monotonic() - start
            if wanted.problems or not wanted.changes or not await confirm(wanted):
                return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
            journal_file = state / "journal.sqlite"
            outcomes = await _carry_out(wanted, connections, document, journal_file, watcher, steps=UPGRADE_STEPS)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


async def _upgrade_plan(document: Document, connections: Connections, image: str) -> Plan:
    facts = await observe(document.spec, connections)
    seen = None
    if facts.ceph is not None and not facts.ceph.unreachable and document.spec.ceph.existing is None:
        seen = await look_at_upgrade(await connections.ceph())
        marked = await hosts_in_maintenance(connections.xenapi)
        seen = replace(seen, maintenance=(*seen.maintenance, *marked))
    return ceph_upgrade.make_plan(document.spec, image, facts, seen)


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
    document: Document,
    state: Path,
    make: Callable[[VirtualDisks], Plan],
    *,
    confirm: Callable[[Plan], Awaitable[bool]],
    watcher: Watcher,
) -> Result:
    """The same for single disks, without the pool's lock: it may take hours, and touches nothing that `apply` makes."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        wanted = make(await look_at_virtual_disks(connections.xenapi))
        observed = time.monotonic() - start
        if wanted.problems or not wanted.changes or not await confirm(wanted):
            return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
        outcomes = await _carry_out(wanted, connections, document, state / "journal.sqlite", watcher, steps=DISK_STEPS)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


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
    confirm: Callable[[Plan], Awaitable[bool]],
    announce: Callable[[Plan], None],
    watcher: Watcher,
) -> Result:
    """Under a lock of its own: keepers stand back from a pool where `apply` is at work, and this may take hours.

    What keeps `apply` away is the mark of a host in maintenance.
    """
    start, journal = time.monotonic(), state / "journal.sqlite"
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(PoolLock(connections.xenapi, key=WORK_LOCK, who="other work on hosts")):
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
    document: Document,
    state: Path,
    make: Callable[[Facts], Plan],
    *,
    confirm: Callable[[Plan], Awaitable[bool]],
    watcher: Watcher,
) -> Result:
    """The same for disks and hosts that come or go, under the pool's lock: `document` names all that are concerned."""
    start = time.monotonic()
    async with Connections(document.spec, state) as connections:
        await _log_in(connections)
        async with hold(PoolLock(connections.xenapi)):
            wanted = make(await observe(document.spec, connections))
            observed = time.monotonic() - start
            if wanted.problems or not wanted.changes or not await confirm(wanted):
                return Result(wanted, seconds=time.monotonic() - start, observe_seconds=observed)
            journal = state / "journal.sqlite"
            outcomes = await _carry_out(wanted, connections, document, journal, watcher, steps=MEMBER_STEPS)
    return Result(wanted, outcomes, time.monotonic() - start, observed)


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
    steps: Mapping[str, Step] = STEPS,
) -> dict[str, Outcome]:
    journal = Journal(journal_file)
    journal.begin(shoal_version=__version__, spec_file=document.file)
    executor = Executor(steps, Watchers(journal, watcher))
    ended = "interrupted"
    try:
        tools = Tools(connections, executor.report, alone=lambda: hold(PoolLock(connections.xenapi)))
        outcomes = await executor.run(wanted.actions, tools)
        failed = any(outcome.state is State.FAILED for outcome in outcomes.values())
        ended = "failed" if failed else "done"
        return outcomes
    finally:
        journal.end(ended)
        journal.close()
