"""Every command, killed before, amid and after each of its outside calls and then repeated, ends as if nothing had been.

The steps are not listed anywhere: the driver is killed at the first, the second, and so on, until it comes to its end.
Of the later steps one in $SHOAL_KILLED_EVERY is taken (default 8; 1 takes all, which is half an hour), others each time.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator

import pytest

from dom0.shoal_dom0.driver import MODULES
from dom0.tests.ceph_kernel import Agent
from dom0.tests.killed import Killed, World
from dom0.tests.killed_scenarios import SCENARIOS, Act, Scenario
from dom0.tests.pool import empty_pool
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
STEPS_MAX = 300
EVERY = int(os.environ.get("SHOAL_KILLED_EVERY", "8"))
SEED = int(os.environ.get("SHOAL_TEST_SEED", str(time.time_ns() % 1_000_000)))


@pytest.fixture(scope="module")
def world(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    empty_pool(service)
    agent = Agent(service.cluster)
    made = World(tmp_path_factory.mktemp("host"), service, agent)
    yield made
    made.stop()
    agent.stop()


def killed_at(world: World, step: int, act: Act) -> str:
    """Where it was killed; "" when it came to its end."""
    world.host.step = step
    try:
        act()
    except Killed as killed:
        return str(killed)
    finally:
        world.host.step = 0
    return ""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_killed_anywhere_and_repeated_it_ends_the_same(world: World, scenario: Scenario) -> None:
    world.reset()
    act = scenario(world)
    answer, wanted = world.answer(act()), world.settled()
    assert wanted["unrecorded"] == 0
    print(f"seed {SEED}")
    later = 1 + random.Random(f"{SEED} {scenario.__name__}").randint(1, EVERY)
    for step in itertools.chain([1], range(later, STEPS_MAX, EVERY)):
        world.reset()
        act = scenario(world)
        where = killed_at(world, step, act)
        if not where:
            assert step > 1, "no step was reached"
            break
        assert world.answer(act()) == answer, f"killed {where}"
        assert world.becomes(wanted) == wanted, f"killed {where}"
    else:
        pytest.fail(f"it did not come to its end in {STEPS_MAX} steps")
    world.reset()
    world.service.cluster.wait_for(lambda: not world.leaks(), 30, f"the trash to be emptied: {world.leaks()}")


def test_every_command_has_a_scenario() -> None:
    commands = {command for served in MODULES.values() for command in served}
    assert {command for command in commands if not any(case.__name__.startswith(command) for case in SCENARIOS)} == set()
