"""A long time of a slow and busy network in which nothing dies: whoever is taken for dead is a false alarm."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from lab.command import CommandError
from tests.chaos import load, osds, slow_network
from tests.chaos.figures import longest_silence_s
from tests.chaos.run import TROUBLE, Run, attempt, judge, look_at_osds, wait_until_whole

POOL = "rbd"
LOOK_EVERY_S = 60.0
SPARE_S = 120.0
WHOLE_WITHIN_S = 1200.0  # Ceph goes on to warn of slow pings for a quarter of an hour


def keep_busy(run: Run, seconds: float) -> dict[str, object]:
    """All hosts' LANs are slow, a client writes as fast as it can, and the witnesses do. What came of it."""
    lab = run.ground.lab
    seen, alarms_before, elections = look_at_osds(run), run.false_alarms, count_elections(run)
    began_s = time.monotonic()
    loader = threading.Thread(target=write, args=(run, seconds), name="load", daemon=True)
    try:
        for host in lab.hosts:
            run.ground.shaper = slow_network.slow(lab, host)
        loader.start()
        while (left_s := began_s + seconds - time.monotonic()) > 0:
            time.sleep(min(LOOK_EVERY_S, left_s))
            try:
                now = run.ground.osds()
            except TROUBLE as error:
                run.say(f"Ceph did not say how its OSDs are, and is asked again: {error}")
                continue
            if alarms := osds.false_alarms(seen, now, ()):
                run.false_alarms += len(alarms)
                run.say(f"false alarm: OSDs {alarms} were marked down")
            seen = now
    finally:
        for host in lab.hosts:
            slow_network.free(lab, host)
    loader.join(timeout=SPARE_S)
    ended_s = time.monotonic()
    run.is_broken = not wait_until_whole(run, "after a busy time on a slow network", within_s=WHOLE_WITHIN_S)
    judge(run)
    stalls = [longest_silence_s(run.listener.heard(), vm, began_s, ended_s) for vm in run.vms]
    return {
        "seconds": round(ended_s - began_s),
        "false_alarms": run.false_alarms - alarms_before,
        "mon_elections": count_elections(run) - elections,
        "longest_io_stall_s": max(stalls),
    }


def write(run: Run, seconds: float) -> None:
    source = Path(load.__file__).read_bytes()

    def go() -> None:
        said = run.ground.ceph_python(source, POOL, f"{seconds:g}", timeout_s=seconds + SPARE_S)
        run.say(f"the load wrote {said.strip()}")

    attempt(run, "the load failed", go)


def count_elections(run: Run) -> int:
    """The monitors' count of elections, which is odd while there is one."""
    try:
        status = run.ground.ceph("quorum_status")
    except TROUBLE as error:
        raise CommandError(f"the monitors do not tell of their elections: {error}") from error
    assert isinstance(status, dict)
    return int(status["election_epoch"]) // 2
