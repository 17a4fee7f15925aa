"""A host whose toolstack and kernel are small, and whose volume service and Ceph are real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.host import Host
from tests.ceph.service import Service


@pytest.fixture
def host(service: Service, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, service.files, [service.endpoint])
    service.ask("PUT", "pools/rbd/owner", {"sr": made.sr})
    yield made
    made.stop()
    _, listing = service.ask("GET", "pools/rbd/volumes")
    for snapshot in listing["snapshots"]:
        service.ask("DELETE", f"pools/rbd/snapshots/{snapshot['location']}")
    for volume in listing["volumes"]:
        service.ask("DELETE", f"pools/rbd/volumes/{volume['id']}")
    service.ask("DELETE", "pools/rbd/owner", {"sr": made.sr})


@pytest.fixture
def lone_host(tmp_path: Path) -> Iterator[Host]:
    """One whose volume service does not exist."""
    made = Host(tmp_path, None, ["127.0.0.1:1"])
    yield made
    made.stop()
