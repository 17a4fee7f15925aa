"""An OSD that has all its data elsewhere, too, is not stopped while an upgrade of Ceph stops others.

While its data move keepers go on, and any monitor may be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from shoal.clients.ceph import CephRefused, CephUnreachable
from shoal.clients.ssh import Completed, Unreachable
from shoal.plan.action import Action, Change
from shoal.steps import osd_removal

SETTINGS = {"osd": 3, "uuid": "own", "name": "shoal-storage-xen2", "keep_id": False, "drain": False}
ACTION = Action("osd_removal", "xen2:1", Change.UPDATE, "", "xen2", settings={**SETTINGS, "has_daemon": True})
AT_WORK = {"in_progress": True, "is_paused": False, "target_image": "ceph:19.2.3"}
REFUSED = CephRefused(["orch", "upgrade", "status"], Completed("", "Module 'orchestrator' is not enabled/loaded", 95))


class Cluster:
    """Is the tools, the Ceph that they give and the storage VM. `upgrade`: what the orchestrator says of one."""

    def __init__(self, upgrade: object) -> None:
        self.upgrade, self.osds = upgrade, [{"osd": 3, "uuid": "own", "up": 1, "state": []}]
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.locks, self.kept = defaultdict[str, asyncio.Lock](asyncio.Lock), dict[str, object]()
        self.meanwhile: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext

    async def ceph(self) -> Any:
        return self

    async def storage_vm(self, _host: str) -> Any:
        self.osds[0]["up"] = 0
        raise Unreachable("it has just gone")

    def progress(self, _action: Action, text: str) -> None:
        self.said.put_nowait(text)

    async def text(self, argv: Sequence[str], **_more: object) -> str:
        if [*argv[:3]] == ["osd", "purge", "3"]:
            self.osds.clear()
        return ""

    async def command(self, argv: Sequence[str]) -> object:
        if argv[0] == "orch" and isinstance(self.upgrade, Exception):
            raise self.upgrade
        return {
            "osd dump": {"osds": self.osds},
            "pg stat": {"num_pg_by_state": [{"name": "active+clean", "num": 33}]},
            "orch upgrade status": self.upgrade,
        }[" ".join(argv)]


@pytest.mark.parametrize(
    ("upgrade", "why"),
    [
        (AT_WORK, "Ceph is being upgraded to ceph:19.2.3"),
        (REFUSED, "ceph orch upgrade status: Module 'orchestrator' is not enabled/loaded"),
        (CephUnreachable("the manager fails over"), "the manager fails over"),
        (None, "the orchestrator does not say whether Ceph is being upgraded"),
    ],
)
async def test_an_upgrade_that_may_be_at_work_is_waited_for(upgrade: object, why: str) -> None:
    cluster: Any = Cluster(upgrade)
    working = asyncio.create_task(osd_removal.apply(ACTION, cluster))
    try:
        async with asyncio.timeout(5):
            assert await cluster.said.get() == f"waiting for Ceph to do without osd.3: {why}"
        assert cluster.osds[0]["up"] and not working.done()
    finally:
        working.cancel()


@pytest.mark.parametrize("upgrade", [{"in_progress": False, "target_image": None}, {**AT_WORK, "is_paused": True}])
async def test_one_that_is_not_at_work_is_no_hindrance(upgrade: object) -> None:
    cluster: Any = Cluster(upgrade)
    async with asyncio.timeout(5):
        await osd_removal.apply(ACTION, cluster)
        assert await osd_removal.verify(ACTION, cluster) == ""


class Silent:
    """What is left of a monitor whose host has died: it took one order."""

    async def command(self, argv: Sequence[str]) -> object:
        return {"osds": [{"osd": 3, "uuid": "own", "up": 1, "state": []}]}

    async def text(self, argv: Sequence[str], **_more: object) -> str:
        if [*argv] == ["osd", "out", "3"]:
            return ""
        raise CephUnreachable("its host has died")


class Draining(Cluster):
    """The first monitor dies once the OSD is out; another one says that it is empty. Keepers may act while it waits."""

    def __init__(self) -> None:
        super().__init__({"in_progress": False})
        self.asked, self.may_act, self.seen = 0, False, list[bool]()
        self.meanwhile = self._wait

    @contextlib.asynccontextmanager
    async def _wait(self) -> AsyncIterator[None]:
        self.may_act = True
        yield
        self.may_act = False

    async def ceph(self) -> Any:
        self.asked += 1
        return Silent() if self.asked <= 2 else self

    async def text(self, argv: Sequence[str], **more: object) -> str:
        if [*argv[:2]] == ["osd", "safe-to-destroy"]:
            self.seen.append(self.may_act)
        return await super().text(argv, **more)

    async def command(self, argv: Sequence[str]) -> object:
        if [*argv[:2]] == ["osd", "safe-to-destroy"]:
            return {"safe_to_destroy": [3]}
        return await super().command(argv)


async def test_while_it_is_emptied_keepers_go_on_and_another_monitor_is_asked() -> None:
    tools: Any = Draining()
    action = replace(ACTION, settings={**ACTION.settings, "drain": True, "together": ("3",)})
    async with asyncio.timeout(10):
        await osd_removal.apply(action, tools)
    assert tools.osds == [] and tools.seen == [True] and not tools.may_act
