"""Runs inside the little Ceph: one whole sweep of a pool, as if everything half made were old."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, "/repository")

from volumes import config, listing, sweep
from volumes import purge as purging
from volumes.ceph import Ceph
from volumes.pool import Pool


def main() -> None:
    folder, name, namespace, age_s = sys.argv[1:5]
    sweep.HALF_MADE_AGE_S = listing.HALF_MADE_AGE_S = float(age_s)
    ceph = Ceph(config.load(Path(folder) / "config.json"))
    done = ceph.with_pool(
        name, namespace, lambda ioctx: purging.sweep(Pool(ioctx, ceph, lambda _: None), set(), whole=True), "sweep"
    )
    sys.exit(0 if done else "another service is at it")


if __name__ == "__main__":
    main()
