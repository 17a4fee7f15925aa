"""What `destroy` makes of what is left in a pool: pure."""

from __future__ import annotations

from dataclasses import replace

from shoal.facts import Partition, Range, Remains, VirtualDisks
from shoal.kit.sizes import GiB
from shoal.plan.action import Change, Plan
from shoal.plan.destroy.planner import Options, make_plan
from tests.model.world import make_facts, make_spec

SPEC, FACTS = make_spec(), make_facts()
UNTOUCHED = Remains(FACTS.pool, FACTS.hosts, VirtualDisks(FACTS.srs, ()))


def plan(seen: Remains, *, wipe: bool = False) -> Plan:
    return make_plan(SPEC, seen, Options(wipe=wipe))


def with_partition(name: str) -> Remains:
    first, *others = UNTOUCHED.hosts
    assert first.dom0
    disk, *more = first.dom0.disks
    partition = Partition(9, "/dev/sda9", Range(0, GiB), name=name, contents="ceph_bluestore")
    disk = replace(disk, partitions=(*disk.partitions, partition))
    return replace(UNTOUCHED, hosts=(replace(first, dom0=replace(first.dom0, disks=(disk, *more))), *others))


def test_a_pool_that_shoal_never_touched_has_nothing_to_lose() -> None:
    assert (plan(UNTOUCHED, wipe=True).changes, plan(UNTOUCHED).problems) == ((), ())


def test_a_partition_goes_only_when_it_is_said() -> None:
    for name in ("shoal-osd-xen1-1", "shoal-osd-xen1-2.new", "old-shoal-osd-xen1-1"):
        assert plan(with_partition(name)).changes == ()
        (action,) = plan(with_partition(name), wipe=True).changes
        assert (action.change, action.target, action.host) == (Change.DESTROY, name, "xen1")
        assert "ceph_bluestore" in action.reason


def test_another_ones_partition_is_never_taken() -> None:
    for name in ("shoal-osd-xen2-1", "my-shoal-osd-xen1-1", "shoal-osd-xen1-1 copy", ""):
        assert plan(with_partition(name), wipe=True).changes == ()


def test_a_host_that_cannot_be_seen_is_a_reason_to_refuse() -> None:
    first, *others = UNTOUCHED.hosts
    dead = replace(UNTOUCHED, hosts=(replace(first, live=False), *others))
    assert [problem.what for problem in plan(dead).problems] == [
        "the pool says that xen1 is not live; what Shoal wrote there would stay"
    ]
    silent = replace(UNTOUCHED, hosts=(replace(first, dom0=None, unreachable="connection refused"), *others))
    (problem,) = plan(silent).problems
    assert "no SSH to xen1" in problem.what and "connection refused" in problem.what
