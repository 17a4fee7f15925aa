"""Whom the keeper asks: its own volume service, and the others when that takes its time. Real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.keeper_pool import FSID, Services
from dom0.tests.test_driver_trouble import answer, nested, serving
from shoal_dom0 import settings
from shoal_keeper import failover_ceph, services
from tests.ceph.certificates import Authority

CEPH = b'"fsid": "x", "monitors": [], "health": "HEALTH_OK", "checks": []'


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    made = Services(tmp_path, lambda: True)
    monkeypatch.setattr(services, "FOLDER", f"{made.client_files}/")
    monkeypatch.setattr(settings, "HOST_FILE", str(tmp_path / "host.json"))
    yield made
    made.stop()


@pytest.fixture
def silent() -> Iterator[str]:
    """A service that takes connections and says nothing, as one whose machine is busy booting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_own_service_holds_nobody_up(service: Services, silent: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"volume_service": silent}))
    began = time.monotonic()
    seen = services.look([service.endpoint, silent])
    took_s = time.monotonic() - began
    assert (seen.silence, seen.fsid) == ("", FSID)
    assert services.HEAD_START_S <= took_s < services.ASK_TIMEOUT_S


def test_all_that_failed_are_named(service: Services) -> None:
    service.is_up = lambda: False
    with pytest.raises(services.Silent) as told:
        services.ask([service.endpoint, "127.0.0.1:1"], "/v1/status")
    assert f"{service.endpoint}: Ceph is away" in str(told.value) and "127.0.0.1:1: " in str(told.value)


def test_an_answer_that_nobody_can_read_is_as_none(service: Services, tmp_path: Path) -> None:
    """Which a storage VM that is no longer Shoal's might give."""
    authority = Authority.make()
    authority.write(service.client_files / "ca.pem")
    asking = failover_ceph.Services()
    with serving(authority, tmp_path, nested) as odd:
        asking.use([odd])
        with pytest.raises(services.Silent, match=odd):
            asking.members()
        with pytest.raises(services.Silent, match=odd):
            services.ask([odd], "/v1/status")


@pytest.mark.parametrize(
    "odd",
    [
        b'{"monitors": [3], "osds": [], "ceph": []}',
        b'{"monitors": [{"name": {}, "in_quorum": 1}], "osds": [], "ceph": {"fsid": "x"}}',
        b'{"ceph": {%s, "members": {"monitors": [], "osds": [{"id": "none", "host": "x", "up": false}]}}}' % CEPH,
        b'{"ceph": {%s, "members": {"monitors": [], "osds": [{"id": 1e999, "host": "x", "up": false}]}}}' % CEPH,
    ],
)
def test_an_answer_of_another_form_ends_no_keeper(service: Services, tmp_path: Path, odd: bytes) -> None:
    """The next service is asked for what failover needs; for the keeper's own look there is no Ceph then."""
    authority = Authority.make()
    authority.write(service.client_files / "ca.pem")
    asking, even = failover_ceph.Services(), b'{"monitors": [{"name": "a", "in_quorum": true}], "osds": []}'
    with (
        serving(authority, tmp_path, lambda connection: answer(connection, 200, odd)) as first,
        serving(authority, tmp_path, lambda connection: answer(connection, 200, even)) as second,
    ):
        asking.use([first, second])
        assert asking.members() == ({"a"}, set(), {"a"})
        assert "another form" in services.look([first]).silence


def test_osds_and_monitors_are_seen_in_the_cluster_or_out_of_it(service: Services) -> None:
    service.ceph.machines = {"shoal-storage-xen1": True, "shoal-storage-xen2": False}
    service.checks = [{"code": "MON_DOWN", "severity": "HEALTH_WARN", "message": "1/2 mons down"}]
    seen = services.look([service.endpoint])
    assert seen.osds_down == ((1, "shoal-storage-xen2"),) and seen.monitors_away == ("shoal-storage-xen2",)
    assert seen.checks == (("MON_DOWN", "1/2 mons down"),)
