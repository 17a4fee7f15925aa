"""Pytest fixtures: one little Ceph and one volume service per test session. A conftest.py imports what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside
from tests.ceph.service import CAPS, Service, write_client_files

WATCH_TIMEOUT_S = 12  # a client says every 5 s that it watches


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    little = Cluster(tmp_path_factory.mktemp("ceph") / "cluster")
    try:
        little.start()
        little.make_pool("other")
        little.make_user("shoal-volumes", *CAPS)
        yield little
    finally:
        little.stop()


@pytest.fixture(scope="module")
def short_watches(cluster: Cluster) -> Iterator[None]:
    """So long a dead client counts as alive; 30 s in real life."""
    cluster.ceph("config", "set", "osd", "osd_client_watch_timeout", str(WATCH_TIMEOUT_S))
    yield
    cluster.ceph("config", "rm", "osd", "osd_client_watch_timeout")


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture(scope="session")
def client_files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    write_client_files(authority, folder)
    return folder


@pytest.fixture(scope="session")
def service(cluster: Cluster, authority: Authority, client_files: Path) -> Iterator[Service]:
    running = Service(cluster, client_files, authority)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="session")
def inside(cluster: Cluster) -> Iterator[Inside]:
    dialog = Inside(cluster)
    yield dialog
    dialog.stop()
