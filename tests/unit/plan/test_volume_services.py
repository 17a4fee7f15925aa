"""A volume service whose files are new is started anew, also by the run after one that was cut off between the two."""

from __future__ import annotations

from dataclasses import replace

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.planner import make_plan
from tests.model.world import World, make_facts, make_spec


def carry_out(facts: Facts, *kinds: str) -> Facts:
    """All of the plan, or what is of these kinds."""
    world = World(make_spec(), facts)
    for action in make_plan(world.spec, facts).changes:
        if not kinds or action.kind in kinds:
            world.do(action)
    return world.facts


def changes(facts: Facts) -> list[Action]:
    return list(make_plan(make_spec(), facts).changes)


def test_files_without_the_restart_are_not_forgotten() -> None:
    works = carry_out(make_facts())
    assert changes(works) == []
    old = tuple(
        replace(vm, guest=replace(vm.guest, volume_service="old", volume_service_runs="old"))
        if vm.guest and vm.host == "xen2"
        else vm
        for vm in works.storage_vms
    )
    cut_off = carry_out(replace(works, storage_vms=old), "volume_service")
    (left,) = changes(cut_off)
    assert (left.kind, left.change) == ("volume_services", Change.UPDATE)
    assert left.reason == "it may still run older files on xen2"
    assert changes(carry_out(cut_off)) == []
