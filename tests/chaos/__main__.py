"""`python -m tests.chaos --seconds 3600 [--seed N]`: faults on a whole lab while a witness VM on every host writes.

Prints what it does as it goes (stderr) and the figures as JSON (stdout). Exit code 1 if anything was lost, had two
writers, did not come back by itself, or could not be done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence

from lab.command import run as run_command
from lab.topology import Lab, locate
from tests.chaos.busy import keep_busy
from tests.chaos.campaign import begin, choose, compare, go_on, report
from tests.chaos.run import TROUBLE, wait_until_whole
from tests.lab.conftest import BIN, DEFAULT_DIR, shoal_argv

UP_TIMEOUT_S = 1500.0
APPLY_TIMEOUT_S = 1200.0


def main() -> int:
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way there is a report
    os.environ["SHOAL_LAB_DIR"] = os.environ.get("SHOAL_LAB_DIR", DEFAULT_DIR)
    print(f"seed {arguments.seed}", file=sys.stderr, flush=True)
    extra: dict[str, object] = {}
    with begin(prepare()) as run:
        try:
            run.is_broken = not wait_until_whole(run, "at first")
            if arguments.compare_defaults and not run.is_broken:
                compare(run, arguments.compare_defaults)
            if arguments.busy and not run.is_broken:
                extra["busy"] = keep_busy(run, arguments.busy)
            go_on(run, arguments.faults, arguments.seed, arguments.seconds)
        except TROUBLE as error:
            run.blame(f"the run broke off: {error}")
        except KeyboardInterrupt:
            run.blame("the run was stopped by hand")
    print(json.dumps(report(run, arguments.seed) | extra, indent=2))
    return 1 if run.accusations or run.false_alarms else 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="no new fault after these (default: 3600)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the schedule (default: new)")
    parser.add_argument("--only", default="", help="names of faults, divided by commas")
    parser.add_argument("--busy", type=float, default=0, metavar="S", help="before, so long a slow and busy network")
    compared = "before, N crashes with Shoal's settings and N with Ceph's"
    parser.add_argument("--compare-defaults", type=int, default=0, metavar="N", help=compared)
    arguments = parser.parse_args(words)
    try:
        arguments.faults = choose([name for name in arguments.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    return arguments


def prepare() -> Lab:
    """A lab with the pool that the spec wants."""
    run_command([BIN / "shoal-lab", "up"], timeout_s=UP_TIMEOUT_S)
    argv = shoal_argv("apply", "--yes")
    if code := subprocess.run(argv, stdout=sys.stderr, timeout=APPLY_TIMEOUT_S, check=False).returncode:
        sys.exit(f"shoal apply gave {code}")
    return locate()


if __name__ == "__main__":
    sys.exit(main())
