"""What people are told of a dead host: once at first, once more when nothing is waited for, and not what they have dismissed."""

from __future__ import annotations

from typing import Any

import pytest

from dom0.tests.test_keeper_failover_past import ROSTER
from dom0.tests.test_keeper_messages import Toolstack
from shoal_keeper.failover import Guest, Lost, Peer, Sight
from shoal_keeper.failover_roster import Place
from shoal_keeper.failover_story import DEAD, START_PATIENCE_S, UNFENCED, Story

POOL = ROSTER._replace(hosts={"a": Place("xen1", "", (), ""), "b": Place("xen2", "", (), "")})
PEER = Peer("b", beats=False, in_quorum=False, osds_up=False, silent_s=60.0)
LOST = Lost("b", "v", "guest", is_marked=True, hindrance="")
WAITS = Sight("a", True, 0.0, (PEER,), (), {"b": "a"}, frozenset(), lost=(LOST,))
RUNS = WAITS._replace(guests=(Guest("v", "Running", "a", restarts=True, claim=""),), lost=())


@pytest.fixture
def toolstack() -> Toolstack:
    return Toolstack()


def story(toolstack: Toolstack) -> Story:
    return Story(toolstack.call, lambda *_: None)


def bodies(toolstack: Toolstack) -> list[str]:
    return [row["body"] for row in toolstack.messages.values() if row["name"] == DEAD]


def tell(teller: Story, *sights: Sight) -> None:
    """After the host has been dead for so long that late VMs are told of."""
    teller.update(WAITS, POOL, 0.0)
    for sight in sights:
        teller.update(sight, POOL, START_PATIENCE_S)


def test_the_first_word_is_replaced_when_nothing_is_waited_for_any_more(toolstack: Toolstack) -> None:
    teller = story(toolstack)
    tell(teller, WAITS, WAITS)
    first = list(toolstack.messages)
    assert "Not started yet: guest." in bodies(toolstack)[0] and len(first) == 1
    teller.update(RUNS, POOL, 500.0)
    assert "Started elsewhere: guest on xen1." in bodies(toolstack)[0]
    assert len(toolstack.messages) == 1 and list(toolstack.messages) != first
    last = list(toolstack.messages)
    teller.update(RUNS, POOL, 520.0)
    assert list(toolstack.messages) == last


def test_a_pool_that_was_silent_is_named_no_longer_than_it_is(toolstack: Toolstack) -> None:
    silent = RUNS._replace(silent=frozenset({"slow"}))
    teller = story(toolstack)
    tell(teller, silent)
    assert "Ceph pool slow does not answer" in bodies(toolstack)[0]
    teller.update(RUNS, POOL, 500.0)
    assert ["Ceph pool slow" in body for body in bodies(toolstack)] == [False]


def test_what_hinders_a_vm_that_was_not_seen_at_first_is_told_then(toolstack: Toolstack) -> None:
    silent = WAITS._replace(lost=(), silent=frozenset({"slow"}))
    teller = story(toolstack)
    for uptime_s in (0.0, 600.0):
        teller.update(silent, POOL, uptime_s)
    assert toolstack.names() == [DEAD]
    teller.update(WAITS._replace(lost=(LOST._replace(hindrance="a disk on a local SR"),)), POOL, 620.0)
    assert toolstack.names() == [DEAD, UNFENCED]
    assert "Not restarted: guest (a disk on a local SR)." in bodies(toolstack)[0]


def test_all_vms_that_nothing_fences_are_named_at_last(toolstack: Toolstack) -> None:
    """One of them has its disk in the pool that was silent at first."""
    first = LOST._replace(vm="w", name="first", hindrance="a disk on a local SR")
    teller = story(toolstack)
    tell(teller, WAITS._replace(lost=(first,), silent=frozenset({"slow"})))
    teller.update(WAITS._replace(lost=(first, LOST._replace(hindrance="a disk on a local SR"))), POOL, 500.0)
    (unfenced,) = [row["body"] for row in toolstack.messages.values() if row["name"] == UNFENCED]
    assert "guest (a disk on a local SR), first (a disk on a local SR)" in unfenced
    assert toolstack.names() == [DEAD, UNFENCED]


def test_what_a_person_has_dismissed_is_not_raised_again(toolstack: Toolstack) -> None:
    late = LOST._replace(vm="w", name="other", hindrance="a disk on a local SR")
    teller = story(toolstack)
    tell(teller, WAITS._replace(lost=(LOST, late)))
    assert toolstack.names() == [DEAD, UNFENCED]
    toolstack.messages.clear()
    teller.update(RUNS, POOL, 500.0)
    assert toolstack.messages == {}


def test_the_word_of_another_keeper_stands(toolstack: Toolstack) -> None:
    """It knows of VMs that have been started before this one came to lead."""
    tell(story(toolstack), WAITS)
    assert toolstack.names() == [DEAD]
    said: dict[str, Any] = dict(toolstack.messages)
    later = story(toolstack)
    tell(later, WAITS, RUNS)
    assert toolstack.messages == said
