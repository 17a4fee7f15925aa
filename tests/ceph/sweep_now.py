"""Runs inside the little Ceph: sweeps a pool whenever it is told to, as if half-made things of an age were old.

`sweep_now.py FOLDER N`: the folder of the service's files; it kills itself before its n-th change in Ceph (0: never).
One JSON object a line on standard input, {"pool", "namespace", "age_s"}; it answers when the sweep is done. With
{"flatten"}, an image id, it flattens that image instead, held or not.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, "/repository")

from tests.ceph.counted import Counted, Fuse, Librbd
from volumes import config, flatten, header, holders, listing, sweep
from volumes import purge as purging
from volumes.ceph import Ceph
from volumes.pool import Pool


def work(ceph: Ceph, fuse: Fuse, ioctx: Any, request: dict[str, Any]) -> bool:
    """Whether it is done."""
    pool = Pool(Counted(ioctx, fuse), ceph, lambda _: None)
    if "flatten" in request:
        image = header.read(pool.ioctx, request["flatten"])
        assert image is not None
        return flatten.flatten(pool, image, 0.05)  # in pieces, as over several sweeps
    return purging.sweep(pool, set(), whole=True)


def main() -> None:
    ceph = Ceph(config.load(Path(sys.argv[1]) / "config.json"))
    fuse = Fuse(int(sys.argv[2]), lambda: True)
    for module in (flatten, holders, sweep):
        module.rbd = Librbd(fuse)  # type: ignore[attr-defined]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        sweep.HALF_MADE_AGE_S = listing.HALF_MADE_AGE_S = request["age_s"]
        todo = partial(work, ceph, fuse, request=request)
        while not ceph.with_pool(request["pool"], request["namespace"], todo, "sweep"):
            time.sleep(0.05)  # a service is at it, or it was only a piece
        print(json.dumps({"answer": None}), flush=True)


if __name__ == "__main__":
    main()
