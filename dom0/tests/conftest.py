"""A host whose toolstack and kernel are small, and whose volume service and Ceph are real."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.host import Host
from dom0.tests.pool import empty_pool
from tests.ceph.service import Service

sys.path.insert(0, str(Path(__file__).parents[1]))  # as in dom0, where the packages find each other


@pytest.fixture
def host(service: Service, tmp_path: Path) -> Iterator[Host]:
    empty_pool(service)
    made = Host(tmp_path, service.files, [service.endpoint])
    service.ask("PUT", "pools/rbd/owner", {"sr": made.sr})
    yield made
    made.stop()
    empty_pool(service)


@pytest.fixture
def lone_host(tmp_path: Path) -> Iterator[Host]:
    """One whose volume service does not exist."""
    made = Host(tmp_path, None, ["127.0.0.1:1"])
    yield made
    made.stop()
