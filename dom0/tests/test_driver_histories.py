"""Three hosts at once on one pool, by chance: no record lost, no disk with two writers, nothing left behind.

$SHOAL_HISTORY_SECONDS makes it longer, $SHOAL_HISTORY_SEED plays one again (the choices, not the timing).
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests import history as h
from dom0.tests.pool import empty_pool
from tests.ceph.dialog import Refused
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
SECONDS = float(os.environ.get("SHOAL_HISTORY_SECONDS", "25"))
SEED = os.environ.get("SHOAL_HISTORY_SEED")
DISKS_MAX = 8
AT_ONCE_MAX = 4
ROUNDS_MIN = 11


@pytest.fixture
def pool(service: Service, tmp_path: Path) -> Iterator[h.Pool]:
    empty_pool(service)
    other = Service(service.cluster, service.files, service.authority)
    other.start()
    made = h.Pool(tmp_path, [service, other])
    yield made
    made.stop()
    forget_sweeps(made.services)
    empty_pool(service)


def forget_sweeps(services: list[Service]) -> None:
    """Whoever was killed amid a sweep keeps the others from sweeping for five minutes. The first one is alive then."""
    for service in services:
        service.kill()
    with contextlib.suppress(Refused):
        services[0].guest.do("remove_object", object="shoal.purge")
    services[0].start()


class History:
    """One run by one seed: what was done and what came of it, round by round."""

    def __init__(self, pool: h.Pool, seed: str) -> None:
        self.pool = pool
        self.seed = seed
        self.chance = random.Random(seed)
        self.model: h.Model = {}
        self.lines: list[str] = []

    def fail(self, why: str) -> None:
        pytest.fail(f"seed {self.seed}: {why}\n" + "\n".join(self.lines[-30:]))

    def round(self) -> None:
        if self.chance.random() < 0.03:
            return self.crash()
        if self.chance.random() < 0.05:
            self.pool.master = self.chance.randrange(h.HOSTS)
        operations = self.choose()
        self.lines.append("at once:")
        dying = self.chance.choice(self.pool.services) if self.chance.random() < 0.05 else None
        if dying is not None:
            self.lines.append(f"volume service {dying.endpoint} dies")
        outcomes = h.run_at_once(self.pool, operations, dying)
        self.lines += [f"{operation} -> {outcome}" for operation, outcome in zip(operations, outcomes, strict=True)]
        explained = h.explain(self.model, operations, outcomes)
        if explained is None:
            self.fail("no order explains these answers")
        assert explained is not None
        self.model = explained
        self.check_contents(operations, outcomes)
        for difference in h.differences(self.pool, self.model):
            self.fail(difference)
        return None

    def choose(self) -> list[h.Operation]:
        """Operations that xapi would let run at once: no two on one disk, but for hosts that race for it."""
        chosen: list[h.Operation] = []
        free = sorted(self.model)
        self.chance.shuffle(free)
        for _ in range(self.chance.randint(1, AT_ONCE_MAX)):
            if len(self.model) + len(chosen) < 2 or (len(self.model) < DISKS_MAX and self.chance.random() < 0.15):
                chosen.append(h.Create(self.pool.master))
            elif self.chance.random() < 0.08:
                chosen.append(h.Scan(self.pool.master))
            elif free:
                chosen += self.on_disk(free.pop(), free)
        return chosen[:5]

    def on_disk(self, name: str, free: list[str]) -> list[h.Operation]:
        host, disk = self.chance.randrange(h.HOSTS), self.model[name]
        users = {disk.writer} - {None} | disk.readers
        if disk.of is not None:
            return self.on_snapshot(name, host, free)
        if users and self.chance.random() < 0.4:
            return [h.Deactivate(next(iter(users)), name)]  # type: ignore[arg-type]
        kinds: list[type[h.Operation]] = [h.Activate, h.Activate, h.Resize, h.Update]
        kinds += [] if disk.readers else [h.Delete]
        kinds += [h.ForgetfulStart, h.Start] if not users and "VDI_RESET_ON_BOOT" in self.pool.able else []
        if len(self.model) < DISKS_MAX:
            kinds += [kind for kind in (h.Snapshot, h.Clone) if f"VDI_{kind.__name__.upper()}" in self.pool.able]
        kind = self.chance.choice(kinds)
        if kind is h.Activate and self.chance.random() < 0.4:
            return [h.Activate(each, name) for each in self.chance.sample(range(h.HOSTS), 2)]
        return [kind(host, name)]

    def on_snapshot(self, name: str, host: int, free: list[str]) -> list[h.Operation]:
        snapshot = self.model[name]
        if snapshot.readers:
            return [h.Deactivate(next(iter(snapshot.readers)), name)]
        kinds = ["read", "delete"]
        kinds += ["clone"] if len(self.model) < DISKS_MAX else []
        kinds += ["revert", "revert"] if snapshot.of in free and "VDI_REVERT" in self.pool.able else []
        kind = self.chance.choice(kinds)
        if kind == "revert":
            assert snapshot.of is not None
            free.remove(snapshot.of)
            return [h.Revert(host, name, snapshot.of)]
        return [{"read": h.ActivateToRead, "delete": h.Delete, "clone": h.Clone}[kind](host, name)]

    def check_contents(self, operations: list[h.Operation], outcomes: list[h.Outcome]) -> None:
        """Who has got a disk reads what was written last, by whomever, and writes something new."""
        for operation, outcome in zip(operations, outcomes, strict=True):
            if outcome.fault or not isinstance(operation, h.Activate | h.ActivateToRead):
                continue
            disk = self.model[operation.disk]
            if operation.host not in {disk.writer} | disk.readers:
                continue
            name = h.map_name(operation.disk, disk)
            there = self.pool.content(operation.host, name)
            if there != disk.content:
                self.fail(f"{operation}: it holds {there!r}, wanted {disk.content!r}")
            if disk.writer == operation.host:
                disk.content = h.fresh_text()
                self.pool.write(operation.host, name, disk.content)

    def crash(self) -> None:
        host = self.chance.randrange(h.HOSTS)
        self.lines.append(f"host {host} crashes")
        self.pool.crash(host)
        for disk in self.model.values():
            disk.writer = None if disk.writer == host else disk.writer
            disk.readers.discard(host)

    def end(self) -> None:
        """All disks given back and removed in any order: then Ceph holds nothing of them any more."""
        names = sorted(self.model)
        self.chance.shuffle(names)
        for name in names:
            for host in range(h.HOSTS):
                assert not self.pool.call(host, "vdi_detach", name).fault
            done = self.pool.call(self.pool.master, "vdi_delete", name)
            if done.fault:
                self.fail(f"at the end {name} is not removed: {done}")
        self.model.clear()
        for difference in h.differences(self.pool, self.model):
            self.fail(difference)


def remains(pool: h.Pool) -> dict[str, list[object]]:
    dump = pool.kernel(0).agent.dump()
    return {key: dump[key] for key in ("images", "trash", "orphans") if dump[key]}


def is_empty_when_swept(pool: h.Pool) -> bool:
    """What a service that died had begun, too: Ceph takes it for one that has the image open for half a minute more."""
    pool.services[0].sweep()
    found = remains(pool)
    if found:
        print("there is still", found)
    return not found


def test_three_hosts_at_once(pool: h.Pool) -> None:
    history = History(pool, SEED or str(random.randrange(1 << 32)))
    print(f"seed {history.seed}")
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or rounds < ROUNDS_MIN:  # a busy machine comes to few in its time
        history.round()
        rounds += 1
    history.end()
    forget_sweeps(pool.services)
    pool.cluster.wait_for(lambda: is_empty_when_swept(pool), 90, f"Ceph to be empty after seed {history.seed}")


def test_a_snapshot_can_be_read_though_its_disk_is_deleted_at_that_moment(pool: h.Pool) -> None:
    """The image gets another name between the question where the snapshot lies and its map."""
    disk = h.Create(0).run(pool).answer["uuid"]
    snapshot = h.Snapshot(0, disk).run(pool).answer["uuid"]
    kernel = pool.kernel(1)
    add = kernel._add

    def delete_first(line: str) -> int:
        if not kernel.lines:
            assert not h.Delete(0, disk).run(pool).fault
        return add(line)

    kernel._add = delete_first  # type: ignore[method-assign]
    assert not h.ActivateToRead(1, snapshot).run(pool).fault
    assert len(kernel.lines) == 2
    assert not h.Deactivate(1, snapshot).run(pool).fault


def test_an_impossible_answer_is_noticed() -> None:
    """The check itself: two writers are explained by no order, one winner is."""
    both = [h.Activate(0, "a"), h.Activate(1, "a")]
    model = {"a": h.Disk(1)}
    assert h.explain(model, list(both), [h.Outcome(), h.Outcome()]) is None
    after = h.explain(model, list(both), [h.Outcome(fault=h.UNAVAILABLE), h.Outcome()])
    assert after is not None and after["a"].writer == 1
    assert h.explain(model, list(both), [h.Outcome(fault=h.UNAVAILABLE), h.Outcome(fault=h.UNAVAILABLE)]) is None
