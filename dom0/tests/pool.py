"""The pool of the little Ceph, as no test has touched it."""

from __future__ import annotations

import time

from tests.ceph.service import Service

NOBODY = "00000000-0000-0000-0000-000000000000"
TIMEOUT_S = 60.0  # a holder that was killed is remembered for half a minute


def empty_pool(service: Service) -> None:
    """Remove what is there, whoever's it is. A call that gave up while Ceph was away may have been done since."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        _, listing = service.ask("GET", "pools/rbd/volumes")
        for snapshot in listing["snapshots"]:
            service.ask("DELETE", f"pools/rbd/snapshots/{snapshot['location']}")
        for volume in listing["volumes"]:
            service.ask("DELETE", f"pools/rbd/volumes/{volume['id']}")
        owner = service.ask("GET", "pools/rbd/owner")[1]["sr"] or NOBODY
        if service.ask("DELETE", "pools/rbd/owner", {"sr": owner})[0] == 200:
            return
        assert time.monotonic() < deadline, f"the pool does not become empty: {listing}"
        time.sleep(0.5)
