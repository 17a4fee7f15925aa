"""Every command, killed before, amid and after each of its outside calls and then repeated, ends as if nothing had been.

The steps are not listed anywhere: the driver is killed at the first, the second, and so on, until it comes to its end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.tests.ceph_kernel import Agent
from dom0.tests.killed import Killed, World
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30
STEPS_MAX = 300

Act = Callable[[], Any]
Scenario = Callable[[World], Act]


@pytest.fixture(scope="module")
def world(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    agent = Agent(service.cluster)
    made = World(tmp_path_factory.mktemp("host"), service, agent)
    yield made
    made.stop()
    agent.stop()


def sr_create(world: World) -> Act:
    world.ask("DELETE", "owner", {"sr": world.host.sr})
    return lambda: world.host.call("sr_create", args=("0",))


def sr_delete(world: World) -> Act:
    return lambda: world.host.call("sr_delete")


def sr_attach(world: World) -> Act:
    return lambda: world.host.call("sr_attach")


def sr_detach(world: World) -> Act:
    for label in ("one", "two"):
        world.host.call("vdi_activate", world.disk(label), args=("true",))
    return lambda: world.host.call("sr_detach")


def sr_scan(world: World) -> Act:
    """A record too few, one too many, one of another size."""
    lost, grown, found = world.disk("lost"), world.disk("grown"), str(uuid.uuid4())
    world.labels[found] = "found"
    world.ask("DELETE", f"volumes/{lost}")
    world.ask("POST", f"volumes/{grown}/resize", {"size_bytes": 2 * GIB})
    world.ask("PUT", f"volumes/{found}", {"size_bytes": GIB, "metadata": {"name_label": "found"}})
    return lambda: world.host.call("sr_scan")


def sr_update(world: World) -> Act:
    world.disk()
    return lambda: world.host.call("sr_update")


def sr_probe(world: World) -> Act:
    return lambda: world.host.call("sr_probe")


def vdi_create(world: World) -> Act:
    """xapi gives no uuid: a repeat makes another disk, and the first one shows up with the next scan."""

    def act() -> Any:
        made = world.host.create(GIB, "created")
        world.host.step = 0
        world.host.call("sr_scan")
        return made

    return act


def vdi_create_of_a_uuid(world: World) -> Act:
    wanted = str(uuid.uuid4())
    world.labels[wanted] = "wanted"
    return lambda: world.host.create(GIB, "wanted", vdi_uuid=wanted)


def vdi_delete(world: World) -> Act:
    world.disk("kept")
    disk = world.disk()
    return lambda: world.host.call("vdi_delete", disk)


def vdi_attach(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_attach", disk, args=("true",))


def vdi_activate(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_activate", disk, args=("true",))


def vdi_activate_to_read(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_activate", disk, args=("false",))


def vdi_activate_over_a_stale_map(world: World) -> Act:
    disk = world.disk()
    world.host.kernel.add_map(f"vdi-{disk}", "client99")
    return lambda: world.host.call("vdi_activate", disk, args=("true",))


def vdi_deactivate(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_activate", disk, args=("true",))
    return lambda: world.host.call("vdi_deactivate", disk)


def vdi_detach(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_activate", disk, args=("true",))
    return lambda: world.host.call("vdi_detach", disk)


def vdi_resize(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_resize", disk, args=(str(3 * GIB),))


def vdi_introduce(world: World) -> Act:
    disk = world.disk()
    world.host.toolstack.vdis.clear()
    return lambda: world.host.call("vdi_introduce", vdi_location=disk, new_uuid=disk, vdi_sm_config={})


def vdi_update(world: World) -> Act:
    disk = world.disk()
    world.host.toolstack.vdis[world.host.toolstack.ref(disk)]["name_label"] = "renamed"
    return lambda: world.host.call("vdi_update", disk)


SCENARIOS: list[Scenario] = [
    *(sr_create, sr_delete, sr_attach, sr_detach, sr_scan, sr_update, sr_probe),
    *(vdi_create, vdi_create_of_a_uuid, vdi_delete, vdi_introduce, vdi_update, vdi_resize),
    *(vdi_attach, vdi_activate, vdi_activate_to_read, vdi_activate_over_a_stale_map, vdi_deactivate, vdi_detach),
]


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
    answer, wanted = world.answer(act()), world.state()
    assert wanted["unrecorded"] == 0
    for step in range(1, STEPS_MAX):
        world.reset()
        act = scenario(world)
        where = killed_at(world, step, act)
        if not where:
            assert step > 2, "no step was reached"
            break
        assert world.answer(act()) == answer, f"killed {where}"
        assert world.state() == wanted, f"killed {where}"
    else:
        pytest.fail(f"it did not come to its end in {STEPS_MAX} steps")
    world.reset()
    world.service.cluster.wait_for(lambda: not world.leaks(), 30, f"the trash to be emptied: {world.leaks()}")


def test_every_command_has_a_scenario(world: World) -> None:
    capabilities = {name.split("/")[0].lower() for name in world.host.call("sr_get_driver_info")["capabilities"]}
    covered = {scenario.__name__.split("_of_")[0].split("_to_")[0].split("_over_")[0] for scenario in SCENARIOS}
    assert capabilities - {"thin_provisioning"} <= covered
