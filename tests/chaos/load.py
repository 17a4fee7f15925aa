"""Writes to a pool as fast as it can, to the same few objects, and removes them at the end.

Sent as it is to a monitor's container: `python3 - CEPH_CONF KEYRING POOL SECONDS`. Standard library and librados.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

OBJECTS = 64
AT_ONCE = 32
PIECE_BYTES = 64 * 1024


def main() -> None:
    import rados

    conf, keyring, pool, seconds = sys.argv[1:]
    deadline = time.monotonic() + float(seconds)
    names = [f"chaos-load-{number}" for number in range(OBJECTS)]
    cluster = rados.Rados(conffile=conf, rados_id="admin", conf={"keyring": keyring})
    with cluster, cluster.open_ioctx(pool) as ioctx:
        try:
            count = write(ioctx, names, deadline)
        finally:
            for name in names:
                with contextlib.suppress(rados.ObjectNotFound):  # it was over before this one's turn
                    ioctx.remove_object(name)
    print(f"{count * PIECE_BYTES // 1024**2} MiB")


def write(ioctx: Any, names: list[str], deadline: float) -> int:
    piece, count = os.urandom(PIECE_BYTES), 0
    under_way: list[Any] = []
    while time.monotonic() < deadline:
        if len(under_way) >= AT_ONCE:
            under_way.pop(0).wait_for_complete_and_cb()
        under_way.append(ioctx.aio_write_full(names[count % len(names)], piece))
        count += 1
    for one in under_way:
        one.wait_for_complete_and_cb()
    return count


if __name__ == "__main__":
    main()
