"""What is done to each command's world before it is called, and the call: the cases of test_driver_killed.

A scenario's name begins with the command's; it answers with the call, which may be made again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from dom0.tests.killed import World

GIB = 1 << 30
Act = Callable[[], Any]
Scenario = Callable[[World], Act]


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
    return lambda: world.then_scanned(world.host.create(GIB, "created"))


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


def vdi_snapshot(world: World) -> Act:
    """As with vdi_create: a repeat takes another one, and the first shows up with the next scan."""
    disk = world.disk()
    return lambda: world.then_scanned(world.host.call("vdi_snapshot", disk, driver_params={}))


def vdi_snapshot_of_a_disk_in_use(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_activate", disk, args=("true",))
    return lambda: world.then_scanned(world.host.call("vdi_snapshot", disk, driver_params={}))


def vdi_clone(world: World) -> Act:
    disk = world.disk()
    return lambda: world.then_scanned(world.host.call("vdi_clone", disk, driver_params={}))


def vdi_clone_of_a_snapshot(world: World) -> Act:
    snapshot = world.snapshot("snapshot", world.disk())
    return lambda: world.then_scanned(world.on(snapshot, "vdi_clone", driver_params={}))


def vdi_revert(world: World) -> Act:
    disk = world.disk()
    snapshot = world.snapshot("snapshot", disk)
    world.host.call("vdi_resize", disk, args=(str(3 * GIB),))
    return lambda: world.on(snapshot, "vdi_revert", args=(world.host.toolstack.ref(disk),))


def vdi_delete_of_a_snapshot(world: World) -> Act:
    snapshot = world.snapshot("snapshot", world.disk())
    return lambda: world.on(snapshot, "vdi_delete")


def vdi_delete_of_a_disk_with_a_snapshot(world: World) -> Act:
    disk = world.disk()
    world.snapshot("snapshot", disk)
    return lambda: world.host.call("vdi_delete", disk)


def vdi_delete_of_the_last_snapshot(world: World) -> Act:
    disk = world.disk()
    snapshot = world.snapshot("snapshot", disk)
    world.host.call("vdi_delete", disk)
    return lambda: world.on(snapshot, "vdi_delete")


def vdi_activate_of_a_snapshot(world: World) -> Act:
    snapshot = world.snapshot("snapshot", world.disk())
    return lambda: world.on(snapshot, "vdi_activate", args=("false",))


def vdi_epoch_begin(world: World) -> Act:
    """The first start and the next: a repeat of the first is a next one, which lays a clone over the same content."""
    disk = world.disk()
    return lambda: [world.host.call("vdi_epoch_begin", disk, vdi_on_boot="reset") for _ in range(2)]


def vdi_epoch_begin_of_a_later_start(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
    return lambda: world.host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")


def vdi_epoch_begin_of_a_disk_that_persists_again(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
    return lambda: world.host.call("vdi_epoch_begin", disk, vdi_on_boot="persist")


def vdi_epoch_end(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_epoch_end", disk, vdi_on_boot="reset")


def vdi_enable_cbt(world: World) -> Act:
    disk = world.disk()
    return lambda: world.host.call("vdi_enable_cbt", disk)


def vdi_disable_cbt(world: World) -> Act:
    disk = world.disk()
    world.host.call("vdi_enable_cbt", disk)
    return lambda: world.host.call("vdi_disable_cbt", disk)


def vdi_data_destroy(world: World) -> Act:
    snapshot = world.snapshot("snapshot", world.disk())
    return lambda: world.on(snapshot, "vdi_data_destroy")


def vdi_list_changed_blocks(world: World) -> Act:
    disk = world.disk()
    snapshot = world.snapshot("snapshot", disk)
    toolstack = world.host.toolstack
    for record in toolstack.vdis.values():
        record["cbt_enabled"] = True
    return lambda: world.on(snapshot, "vdi_list_changed_blocks", args=(toolstack.ref(disk),))


SCENARIOS: list[Scenario] = [
    *(sr_create, sr_delete, sr_attach, sr_detach, sr_scan, sr_update, sr_probe),
    *(vdi_create, vdi_create_of_a_uuid, vdi_delete, vdi_introduce, vdi_update, vdi_resize),
    *(vdi_attach, vdi_activate, vdi_activate_to_read, vdi_activate_over_a_stale_map, vdi_deactivate, vdi_detach),
    *(vdi_snapshot, vdi_snapshot_of_a_disk_in_use, vdi_clone, vdi_clone_of_a_snapshot, vdi_revert),
    *(vdi_delete_of_a_snapshot, vdi_delete_of_a_disk_with_a_snapshot, vdi_delete_of_the_last_snapshot),
    *(vdi_activate_of_a_snapshot, vdi_epoch_begin, vdi_epoch_begin_of_a_later_start),
    *(vdi_epoch_begin_of_a_disk_that_persists_again, vdi_epoch_end),
    *(vdi_enable_cbt, vdi_disable_cbt, vdi_data_destroy, vdi_list_changed_blocks),
]
