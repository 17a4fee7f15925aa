"""Hosts that join the storage: what is planned from a pool that works, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shoal.facts import Facts
from shoal.kit.sizes import GiB
from shoal.plan.action import Change, Plan
from shoal.plan.host_members import plan_add
from shoal.plan.planner import make_plan
from shoal.spec.edit import ADD_HOST, Edit
from shoal.spec.model import Spec
from tests.model.world import World, make_facts, make_spec

FILE = Path("shoal.yaml")


def pool(hosts: int, more: int = 0) -> tuple[Spec, Facts]:
    """A pool that works, with hosts that have only joined it."""
    spec = make_spec(hosts)
    world = World(spec, make_facts(hosts + more))
    for action in make_plan(spec, world.facts).actions:
        if action.change is not Change.NONE:
            world.do(action)
    assert world.facts.ceph
    osds = tuple(replace(osd, uuid=f"uuid-{osd.id}", size_bytes=10 * GiB) for osd in world.facts.ceph.osds)
    ceph = replace(world.facts.ceph, health="HEALTH_OK", osds=osds, used_bytes=6 * GiB)
    return spec, replace(world.facts, ceph=ceph)


def add(facts: Facts, hosts: int) -> Plan:
    return plan_add(make_spec(hosts), facts, FILE, Edit(ADD_HOST, f"xen{hosts}"), changes_spec=True)


def test_a_host_is_added() -> None:
    _, facts = pool(3, 1)
    plan = add(facts, 4)
    assert plan.problems == ()
    kinds = [action.kind for action in plan.changes]
    assert kinds[0] == "spec_edit"
    assert {"partition", "storage_vm", "dom0_kit", "ceph_host", "ceph_osd", "shared_sr"} <= set(kinds)
    assert {action.host for action in plan.changes} == {"", "xen4"}
    world = World(make_spec(4), facts)
    for action in plan.changes[1:]:
        world.do(action)
    assert make_plan(world.spec, world.facts).changes == ()


def test_the_fifth_host_brings_two_more_monitors() -> None:
    _, facts = pool(4, 1)
    plan = add(facts, 5)
    assert plan.problems == ()
    assert "ceph_mons/cluster" in [action.id for action in plan.changes]


def test_a_host_that_has_not_joined_the_pool_is_refused() -> None:
    _, facts = pool(3)
    assert [problem.what for problem in add(facts, 4).problems] == ["the pool has no host xen4"]


def test_two_hosts_at_once_are_refused() -> None:
    _, facts = pool(3, 2)
    (problem,) = plan_add(make_spec(5), facts, FILE, Edit(ADD_HOST, "xen5"), changes_spec=True).problems
    assert problem.what.startswith("the spec wants other changes, too: partition/xen4:1, passthrough_sr/xen4")
