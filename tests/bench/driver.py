"""`python -m tests.bench.driver`: how long the driver's calls take, beside `rbd` commands with the same results.

Native Python, a real volume service and a real small Ceph; the toolstack and the kernel are those of the driver's
tests. The relay runs, as on a host; each call's figures without it stand beside. Prints JSON; asserts nothing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dom0.tests.ceph_kernel import Agent
from dom0.tests.relay_process import RelayProcess
from tests.bench.driver_calls import measure_calls, measure_reverts
from tests.bench.driver_clock import TimedHost, TimedKernel, figures
from tests.bench.driver_commands import CommandLine
from tests.bench.driver_scan import measure_scans
from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.service import CAPS, Service, write_client_files

CALLS = int(os.environ.get("CALLS", "200"))
SCAN_SIZES = tuple(int(word) for word in os.environ.get("SCAN_SIZES", "100 1000 10000").split())
# As `shoal apply` sets it: a snapshot waits for the monitors' next round.
SETTINGS = {"mon/paxos_propose_interval": "0.1"}


def main() -> int:
    with bench() as (host, commands):
        found = measure(host, commands)
    # On a Ceph of their own: the huge disk of the reverts is being removed for minutes, object by object.
    with bench() as (host, _):
        scans = measure_scans(host, SCAN_SIZES, say)
    found |= {"scan": scans, "memory_peak_mib": {"figure": scans["memory_peak_mib"], "aim": 64}}
    print(json.dumps(found, indent=2))
    return 0


def measure(host: TimedHost, commands: CommandLine) -> dict[str, Any]:
    load = round(os.getloadavg()[0], 1)
    say(f"{CALLS} of each call")
    relay = RelayProcess(host.folder, host.folder.parent / "client")
    calls = measure_calls(host, commands, CALLS, relay)
    relay_figures = cost_of(relay, host)
    say("reverts")
    reverts = measure_reverts(host, commands, max(5, CALLS // 10))
    relay.stop()
    return {
        "what": "driver calls in milliseconds, with the relay running, the interpreter's start taken out; beside them"
        " the same calls without the relay, and `rbd` commands with the same result",
        "load_average_at_start": load,
        "interpreter_start_ms": figures([spent.wall_s for spent in host.starts]),
        "interpreter_start_cpu_ms": round(host.start_s().cpu_s * 1000, 1),
        "ceph_settings": SETTINGS,
        "calls": calls,
        "relay": relay_figures,
        "revert": reverts,
    }


def cost_of(relay: RelayProcess, host: TimedHost) -> dict[str, float]:
    """What the relay itself takes, which is in no call's processor time: for a call that asks the service once."""
    before_s, count = relay.cpu_s(), max(20, CALLS)
    for _ in range(count):
        host.call("sr_probe")
    return {
        "cpu_ms_per_request": round((relay.cpu_s() - before_s) * 1000 / count, 1),
        "memory_peak_mib": round(relay.status("VmHWM") / 1024, 1),
    }


@contextmanager
def bench() -> Iterator[tuple[TimedHost, CommandLine]]:
    """A host with its SR, on a little Ceph of its own."""
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as folder, little_ceph(Path(folder)) as made:
        yield made


@contextmanager
def little_ceph(folder: Path) -> Iterator[tuple[TimedHost, CommandLine]]:
    cluster = Cluster(folder / "cluster")
    try:
        say("a little Ceph")
        cluster.start()
        cluster.make_pool("other")
        cluster.make_user("shoal-volumes", *CAPS)
        for name, value in SETTINGS.items():
            section, _, option = name.partition("/")
            cluster.ceph("config", "set", section, option, value)
        authority = Authority.make()
        write_client_files(authority, folder / "client")
        service = Service(cluster, folder / "client", authority)
        service.start()
        agent = Agent(cluster)
        (folder / "host").mkdir()
        host = TimedHost(
            folder / "host", folder / "client", [service.endpoint], kernel=lambda where: TimedKernel(where, agent)
        )
        host.call("sr_create", args=("0",))
        yield host, CommandLine(cluster, agent)
        host.stop()
    finally:
        cluster.stop()


def say(what: str) -> None:
    print(f"[bench] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
