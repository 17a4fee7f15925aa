"""Each call of the driver many times, beside the commands that lead to the same; reverts of a small and a huge disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dom0.tests.relay_process import RelayProcess
from tests.bench import driver_commands as command
from tests.bench.driver_clock import Spent, TimedHost, TimedKernel, figures, total
from tests.bench.driver_commands import CommandLine

GIB = 1 << 30
COMMANDS_EVERY = 4  # of the driver's calls: a command takes many times as long
WITHOUT_RELAY_EVERY = 2
AIMS_MS = {"create": 40, "delete": 40, "clone": 70, "snapshot": 150}
AIM_RATIO = 4
AIM_BARE_MAP = 1.3
STARTS = {"attach_activate": 2, "deactivate_detach": 2}  # interpreters in one figure; else one
NO_MAP = "rbd map needs a kernel with rbd: see tests.bench.datapath, which runs in the lab"
REVERT_SIZES = {"1 GiB": GIB, "1 TiB": 1 << 40}
DATA_BLOCKS = 64
ROLLBACK_BYTES_MAX = 16 * GIB  # `snap rollback` looks at every object that a disk could have


def measure_calls(host: TimedHost, commands: CommandLine, count: int, relay: RelayProcess) -> dict[str, Any]:
    """With the relay, which is what a host has; now and then without it, beside."""
    able = capabilities(host)
    driver: dict[str, list[Spent]] = defaultdict(list)
    direct: dict[str, list[Spent]] = defaultdict(list)
    plain: dict[str, list[Spent]] = defaultdict(list)
    for number in range(count):
        for name, spent in one_life(host, commands, able).items():
            driver[name].append(spent)
        if number % WITHOUT_RELAY_EVERY == 0:
            with hidden(relay):
                for name, spent in one_life(host, commands, able).items():
                    direct[name].append(spent)
        if number % COMMANDS_EVERY == 0:
            for name, spent in one_life_by_commands(commands, f"plain-{number}").items():
                plain[name].append(spent)
    start = host.start_s()
    found = {name: compare(name, driver[name], plain[name], start) for name in driver}
    for name, row in found.items():
        row["without_relay"] = without(name, direct[name], row, start)
    found["attach_activate"] |= beside_bare_map(host, found["attach_activate"])
    for name in ("snapshot", "clone"):
        if name not in driver:
            found[name] = {"left_out": f"this driver does not declare VDI_{name.upper()}"}
    return found


def beside_bare_map(host: TimedHost, row: dict[str, Any]) -> dict[str, Any]:
    """What of it is the map itself."""
    assert isinstance(host.kernel, TimedKernel)
    bare = figures(host.kernel.maps_s)
    ratio = round(row["driver_ms"]["median"] / bare["median"], 2)
    return {"bare_map_ms": bare, "to_bare_map": ratio, "to_bare_map_aim": AIM_BARE_MAP}


@contextmanager
def hidden(relay: RelayProcess) -> Iterator[None]:
    """No relay for the driver's calls. It goes on running."""
    away = relay.path.with_name("relay-away")
    relay.path.rename(away)
    try:
        yield
    finally:
        away.rename(relay.path)


def without(name: str, direct: list[Spent], row: dict[str, Any], start: Spent) -> dict[str, float]:
    plain = compare(name, direct, [], start)
    figures = {"driver_ms": plain["driver_ms"]["median"], "driver_cpu_ms": plain["driver_cpu_ms"]}
    figures["cpu_to_with_relay"] = round(plain["driver_cpu_ms"] / max(row["driver_cpu_ms"], 0.1), 1)
    return figures


def compare(name: str, driver: list[Spent], plain: list[Spent], start: Spent) -> dict[str, Any]:
    starts = STARTS.get(name, 1)
    ours = figures([spent.wall_s for spent in driver], less_s=starts * start.wall_s)
    ours_cpu = figures([spent.cpu_s for spent in driver], less_s=starts * start.cpu_s)
    row: dict[str, Any] = {"driver_ms": ours, "driver_cpu_ms": ours_cpu["median"]}
    row["with_start_ms"] = figures([spent.wall_s for spent in driver])["median"]
    if name in AIMS_MS:
        row["aim_ms"] = AIMS_MS[name]
    if plain:
        row["commands_ms"] = figures([spent.wall_s for spent in plain])
        row["commands_cpu_ms"] = figures([spent.cpu_s for spent in plain])["median"]
        row["times_faster"] = round(row["commands_ms"]["median"] / max(ours["median"], 0.1), 1)
        row["times_faster_aim"] = AIM_RATIO
        row["times_less_cpu"] = round(row["commands_cpu_ms"] / max(ours_cpu["median"], 0.1), 1)
    else:
        row["commands_left_out"] = NO_MAP
    return row


def capabilities(host: TimedHost) -> set[str]:
    return {name.split("/")[0] for name in host.call("sr_get_driver_info")["capabilities"]}


def one_life(host: TimedHost, commands: CommandLine, able: set[str]) -> dict[str, Spent]:
    """Each of the calls that a disk meets."""
    disk = host.create(GIB, "bench")
    seen = {"create": host.last}

    def spent(command: str, vdi: str = disk, *, args: tuple[str, ...] = (), **keys: Any) -> Spent:
        host.call(command, vdi, args=args, **keys)
        return host.last

    seen["attach_activate"] = total([spent(f"vdi_{verb}", args=("true",)) for verb in ("attach", "activate")])
    seen["deactivate_detach"] = total([spent(f"vdi_{verb}") for verb in ("deactivate", "detach")])
    seen["resize"] = spent("vdi_resize", args=(str(2 * GIB),))
    commands.agent.ask("put", pool="rbd", image=f"vdi-{disk}", spots=[0, GIB])
    others = {}
    for name in ("snapshot", "clone"):
        if f"VDI_{name.upper()}" in able:
            others[name] = host.call(f"vdi_{name}", disk, driver_params={})
            seen[name] = host.last
    for name, other in others.items():
        seen[f"delete_{name}"] = spent("vdi_delete", other["uuid"], **at(other))
    seen["delete"] = spent("vdi_delete")
    return seen


def at(answer: dict[str, str]) -> dict[str, Any]:
    return {"vdi_location": answer["location"]}


def one_life_by_commands(commands: CommandLine, image: str) -> dict[str, Spent]:
    """The same with the commands. What a clone hangs on stays: this Ceph is thrown away."""
    seen = {"create": commands.time(*command.create(image))}
    seen["resize"] = commands.time(f"resize --size 2048 rbd/{image}")
    commands.agent.ask("put", pool="rbd", image=image, spots=[0, GIB])
    seen["snapshot"] = commands.time(*command.snapshot(image, "one"))
    seen["clone"] = commands.time(*command.clone(image, "two", f"{image}-copy"))
    seen["delete_clone"] = commands.time(f"rm rbd/{image}-copy")
    seen["delete_snapshot"] = commands.time(f"snap rm rbd/{image}@one")
    commands.time(f"snap unprotect rbd/{image}@two", f"snap rm rbd/{image}@two")
    seen["delete"] = commands.time(f"rm rbd/{image}")
    return seen


def measure_reverts(host: TimedHost, commands: CommandLine, count: int) -> dict[str, Any]:
    """Aim: the huge disk's is the small one's."""
    if "VDI_REVERT" not in capabilities(host):
        return {"left_out": "this driver does not declare VDI_REVERT"}
    found = {label: revert_of(host, commands, size, count) for label, size in REVERT_SIZES.items()}
    medians = [row["driver_ms"]["median"] for row in found.values()]
    return {**found, "huge_to_small": round(medians[1] / max(medians[0], 0.1), 2), "huge_to_small_aim": 1.0}


def revert_of(host: TimedHost, commands: CommandLine, size_bytes: int, count: int) -> dict[str, Any]:
    disk = host.create(size_bytes, "reverted")
    spots = [number * (size_bytes // DATA_BLOCKS) for number in range(DATA_BLOCKS)]
    commands.agent.ask("put", pool="rbd", image=f"vdi-{disk}", spots=spots)
    snapshot = host.call("vdi_snapshot", disk, driver_params={})
    seconds = []
    for number in range(count):
        commands.agent.ask("put", pool="rbd", image=f"vdi-{disk}", spots=[spots[number % DATA_BLOCKS]])
        target = (host.toolstack.ref(disk),)
        host.call("vdi_revert", snapshot["uuid"], args=target, **at(snapshot))
        seconds.append(host.last.wall_s)
    row: dict[str, Any] = {
        "driver_ms": figures(seconds, less_s=host.start_s().wall_s),
        "with_start_ms": figures(seconds)["median"],
    }
    if size_bytes > ROLLBACK_BYTES_MAX:
        row["commands_left_out"] = f"rbd snap rollback looks at all {size_bytes >> 22} objects: many minutes"
    else:
        row["commands_ms"] = figures(rollbacks(commands, size_bytes, spots))
    return row


def rollbacks(commands: CommandLine, size_bytes: int, spots: list[int]) -> list[float]:
    image = f"plain-{size_bytes}"
    commands.time(f"create --size {size_bytes >> 20} --image-feature layering,exclusive-lock rbd/{image}")
    commands.agent.ask("put", pool="rbd", image=image, spots=spots)
    commands.time(f"snap create rbd/{image}@one")
    seconds = []
    for spot in spots[:5]:
        commands.agent.ask("put", pool="rbd", image=image, spots=[spot])
        seconds.append(commands.time(f"snap rollback rbd/{image}@one").wall_s)
    return seconds
