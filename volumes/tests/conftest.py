"""What several of these tests use beside the session's service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import Calls, leftovers_of


@pytest.fixture(scope="module")
def spare(service: Service) -> Iterator[Service]:
    """A second service, which is killed or stands still."""
    made = Service(service.cluster, service.files, service.authority)
    yield made
    made.kill()


@pytest.fixture
def within(service: Service) -> Iterator[Inside]:
    dialog = Inside(service.cluster, "other")
    yield dialog
    dialog.stop()


@pytest.fixture
def calls(service: Service, within: Inside) -> Iterator[Calls]:
    """After the test and a sweep nothing may be left in the pool."""
    made = Calls(service, "other")
    yield made
    made.sweep()
    assert leftovers_of(within) == []
