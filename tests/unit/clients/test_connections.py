"""How often a run looks for the monitor that it asks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients import connections
from shoal.clients.ceph import Ceph, CephUnreachable
from shoal.clients.connections import Connections
from shoal.clients.ssh import Completed
from shoal.kit.secret import Secret


class StorageVm:
    """Says whether a monitor's container runs on it."""

    name = "storage VM of xen1"

    def __init__(self) -> None:
        self.container, self.looks = "c1", 0

    async def run(self, _argv: object, **_more: object) -> Completed:
        self.looks += 1
        return Completed(self.container, "", 0)


@pytest.fixture
def guest() -> StorageVm:
    return StorageVm()


@pytest.fixture
def run(guest: StorageVm, tmp_path: Path) -> Connections:
    pool = SimpleNamespace(url="https://127.0.0.1:9", user="root", password=Secret("pw"), fingerprint=None)
    spec: Any = SimpleNamespace(pool=pool, hosts=[SimpleNamespace(name="xen1")])

    class Here(Connections):
        async def storage_vm(self, host: str) -> Any:
            assert host == "xen1"
            return guest

    return Here(spec, tmp_path)


async def test_a_monitor_that_was_seen_is_not_looked_for_at_each_question(run: Connections, guest: StorageVm) -> None:
    for _ in range(5):
        assert isinstance(await run.ceph(), Ceph)
    assert guest.looks == 1
    with pytest.raises(CephUnreachable):  # another storage VM must be asked, and there is none
        await run.ceph(among=["xen2"])
    await run.close()


async def test_one_that_is_gone_is_missed_soon(
    run: Connections, guest: StorageVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run.ceph()
    guest.container = ""
    monkeypatch.setattr(connections, "TRUSTED_S", 0.0)
    with pytest.raises(CephUnreachable, match="no storage VM runs a monitor"):
        await run.ceph()
    await run.close()
