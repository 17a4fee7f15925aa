"""The laws of test_convergence.py for pools that are wanted otherwise: namespaces, data pools, a cluster of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.kit.secret import Secret
from shoal.plan.action import Change
from shoal.plan.findings import find_faults
from shoal.plan.planner import EXISTING_KINDS, make_plan
from shoal.spec.model import Spec
from shoal.steps.settings import table
from tests.model.test_convergence import plan_of, run
from tests.model.world import CA, Crash, World, make_facts, make_spec

SRS: list[dict[str, object]] = [
    {"name": "shoal", "type": "rbd", "pool": "rbd", "default": True},
    {"name": "gold", "type": "rbd", "pool": "rbd", "namespace": "gold"},
    {"name": "bulk", "type": "rbd", "pool": "rbd", "namespace": "bulk", "data_pool": "slow"},
    {"name": "other", "type": "rbd", "pool": "other"},
]


def existing() -> Spec:
    return Spec.model_validate(
        {
            "pool": {"url": "https://10.77.0.11", "password": Secret("never shown")},
            "hosts": [{"name": name} for name in ("xen1", "xen2", "xen3")],
            "ceph": {
                "image": "quay.io/ceph/ceph:v18.2.7",
                "existing": {
                    "fsid": "9aa2cd5d-1f3a-4a45-8f1e-0b3b1e5a0001",
                    "monitors": ["10.0.0.1", "10.0.0.2"],
                    "key": Secret("never shown"),
                    "volume_services": ["10.0.0.5", "10.0.0.6:7444"],
                    "authority": Path("/authority"),
                },
            },
            "srs": [{**sr, "default": sr["name"] == "shoal"} for sr in SRS],
        }
    )


def world(spec: Spec) -> World:
    facts = make_facts(3, 1)
    facts.wanted_digests["authority"] = CA
    return World(spec, facts)


SPECS = [pytest.param(make_spec(3, 1, srs=SRS), id="namespaces"), pytest.param(existing(), id="existing")]


@pytest.mark.parametrize("spec", SPECS)
def test_the_second_plan_is_empty(spec: Spec) -> None:
    made = world(spec)
    before = made.untouchable()
    run(made)
    plan = plan_of(made)
    assert [f"{action.id}: {action.reason}" for action in plan.changes] == []
    assert all(action.reason for action in plan.actions)
    assert (made.untouchable(), made.twins()) == (before, [])


@pytest.mark.parametrize("spec", SPECS)
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_it_converges_after_crashes_at_any_stage(spec: Spec, data: st.DataObject) -> None:
    made = world(spec)
    for stages in data.draw(st.lists(st.integers(0, 60), max_size=4)):
        made.crash_after = made.stages_done + stages
        try:
            run(made, data.draw)
        except Crash:
            assert made.twins() == []
    made.crash_after = -1
    run(made, data.draw)
    assert plan_of(made).changes == ()
    assert made.twins() == []


def test_an_existing_cluster_needs_nothing_but_what_dom0_does() -> None:
    made = world(existing())
    plan = plan_of(made)
    assert {action.kind for action in plan.actions} == set(EXISTING_KINDS)
    clients = [action.settings["service"] for action in plan.actions if action.kind == "volume_client"]
    assert clients == ["10.0.0.5:7443", "10.0.0.6:7444", "10.0.0.5:7443"]
    (sr,) = (action for action in plan.actions if action.id == "shared_sr/bulk")
    assert {key: sr.settings[key] for key in ("monitors", "volumes", "user", "namespace", "data_pool")} == {
        "monitors": "10.0.0.1:6789,10.0.0.2:6789",
        "volumes": "10.0.0.5:7443,10.0.0.6:7444",
        "user": "shoal-xen",
        "namespace": "bulk",
        "data_pool": "slow",
    }
    assert "never shown" not in repr(plan)


def test_an_existing_cluster_that_is_in_use_has_no_faults() -> None:
    made = world(existing())
    assert [fault.what for fault in find_faults(made.spec, made.facts)] == [
        f"there is no SR {sr['name']}" for sr in SRS
    ]
    run(made)
    assert find_faults(made.spec, made.facts) == ()


def test_an_authority_that_is_not_there() -> None:
    made = world(existing())
    made.facts.wanted_digests["authority"] = ""
    (problem,) = make_plan(made.spec, made.facts).problems
    assert (problem.where, problem.remedy) == ("ceph.existing.authority", "shoal volume-service makes one")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"monitors": ("10.0.0.9:6789",)}, "the PBD of xen1 does not know the monitor 10.0.0.9:6789"),
        ({"user": "another"}, "the PBD of xen1 has other user than the spec"),
    ],
)
def test_what_changed_in_the_spec_is_told_to_the_pbds(change: dict[str, object], said: str) -> None:
    made = world(existing())
    run(made)
    moved = existing().model_copy(deep=True)
    assert moved.ceph.existing is not None
    ceph = moved.ceph.model_copy(update={"existing": moved.ceph.existing.model_copy(update=change)})
    changes = make_plan(moved.model_copy(update={"ceph": ceph}), made.facts).changes
    assert {action.kind for action in changes} == {"shared_sr"}
    assert changes[0].reason == said


def test_rights_are_by_name() -> None:
    plan = plan_of(world(make_spec(3, 1, srs=SRS)))
    (user,) = (action for action in plan.actions if action.id == "ceph_user/client.shoal-xen")
    assert table(user, "caps")["osd"] == (
        "profile rbd pool=rbd, profile rbd pool=rbd namespace=gold, profile rbd pool=rbd namespace=bulk, "
        "profile rbd pool=slow namespace=bulk, profile rbd pool=other"
    )
    namespaces = [action.target for action in plan.actions if action.kind == "ceph_namespace"]
    assert namespaces == ["rbd/gold", "rbd/bulk"]


def test_an_sr_stays_in_its_pool_and_namespace() -> None:
    made = world(make_spec(3, 1, srs=SRS))
    run(made)
    for index, key, value, said in (
        (1, "namespace", "silver", "SR 'gold' is in namespace 'gold' on xen1, where its disks are"),
        (3, "pool", "rbd", "SR 'other' is in pool 'other' on xen1, where its disks are"),
        (0, "namespace", "new", "SR 'shoal' is in no namespace on xen1, where its disks are"),
    ):
        srs = [{**sr, key: value} if number == index else sr for number, sr in enumerate(SRS)]
        (problem,) = make_plan(make_spec(3, 1, srs=srs), made.facts).problems
        assert (problem.what, problem.where) == (said, f"srs.{index}.{key}")


def test_another_data_pool_makes_pbds_anew() -> None:
    made = world(make_spec(3, 1, srs=SRS))
    run(made)
    srs = [{**sr, "data_pool": "fast"} if sr["name"] == "bulk" else sr for sr in SRS]
    changes = {action.id: action.change for action in make_plan(make_spec(3, 1, srs=srs), made.facts).changes}
    assert changes["shared_sr/bulk"] is Change.UPDATE
    assert changes["ceph_pool/fast"] is Change.CREATE
