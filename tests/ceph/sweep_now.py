"""Runs inside the little Ceph: sweeps a pool whenever it is told to, as if half-made things of an age were old.

One JSON object a line on standard input, {"pool", "namespace", "age_s"}; it answers when the sweep is done.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, "/repository")

from volumes import config, listing, sweep
from volumes import purge as purging
from volumes.ceph import Ceph
from volumes.pool import Pool


def main() -> None:
    ceph = Ceph(config.load(Path(sys.argv[1]) / "config.json"))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        sweep.HALF_MADE_AGE_S = listing.HALF_MADE_AGE_S = request["age_s"]

        def work(ioctx: object) -> bool:
            return purging.sweep(Pool(ioctx, ceph, lambda _: None), set(), whole=True)

        while not ceph.with_pool(request["pool"], request["namespace"], work, "sweep"):
            time.sleep(0.05)  # a service is at it
        print(json.dumps({"answer": None}), flush=True)


if __name__ == "__main__":
    main()
