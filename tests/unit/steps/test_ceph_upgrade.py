"""The step that has cephadm upgrade Ceph, against an orchestrator that answers as Ceph's does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from shoal.clients.ceph import CephRefused, CephUnreachable
from shoal.clients.ssh import Completed
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps import ceph_upgrade

OLD, NEW = "ceph:18.2.7", "ceph:18.2.7-b"
ACTION = Action("ceph_upgrade", "cluster", Change.UPDATE, "", settings={"image": NEW, "digest": ""})


class Orchestrator:
    """Upgrades a daemon each time that it is asked how far it is. Is both the tools and the Ceph that they give."""

    def __init__(self, *, under_way: bool = False, silent: int = 0, stops_at: int = 9) -> None:
        self.images = {"mon": OLD, "mgr": OLD, "osd": OLD}
        self.under_way, self.paused, self.silent, self.stops_at = under_way, False, silent, stops_at
        self.target, self.failed = NEW, False
        self.asked: list[list[str]] = []
        self.said: list[str] = []
        self.keepers_go_on = False

    @contextlib.asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        self.keepers_go_on = True
        try:
            yield
        finally:
            self.keepers_go_on = False

    async def ceph(self) -> Any:
        return self

    def progress(self, _action: Action, text: str) -> None:
        self.said.append(text)
        assert self.keepers_go_on == (not text.startswith(("starting", "going on"))), "an upgrade may take hours"

    async def text(self, argv: Sequence[str], *, timeout_s: float) -> str:
        self.asked.append([*argv])
        if argv[2] == "resume" or not self.under_way:
            self.failed = False  # `start` leaves what an upgrade that is paused has failed for
        self.under_way, self.paused = True, False
        return ""

    async def command(self, argv: Sequence[str]) -> object:
        assert [*argv] == ["health", "detail"]
        failed = {"UPGRADE_FAILED_PULL": {"summary": {"message": "no such image"}}}
        return {"checks": failed if self.failed else {}}

    async def commands(self, many: Sequence[Sequence[str]]) -> list[object]:
        assert [" ".join(argv) for argv in many] == ["orch upgrade status", "orch ps", "orch host ls"]
        if self.under_way and self.silent:
            self.silent -= 1
            if self.silent % 2:
                raise CephRefused(["orch", "ps"], Completed("", "Module 'orchestrator' is not enabled/loaded", 95))
            raise CephUnreachable("the manager fails over")
        old = [name for name, image in self.images.items() if image == OLD]
        if self.under_way and old and not self.paused:
            if len(self.images) - len(old) >= self.stops_at:
                self.paused = self.failed = True
            else:
                self.images[old[0]] = NEW
        elif self.under_way and not old:
            self.under_way = False
        status = {"in_progress": self.under_way, "is_paused": self.paused, "target_image": self.target, "message": ""}
        daemons = [
            {"daemon_type": name, "daemon_id": "a", "container_image_name": image, "version": "18.2.7"}
            for name, image in self.images.items()
        ]
        return [status, daemons, []]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceph_upgrade, "EVERY_S", 0.0)


async def carry_out(orchestrator: Any) -> str:
    async with asyncio.timeout(10):
        await ceph_upgrade.apply(ACTION, orchestrator)
        return await ceph_upgrade.verify(ACTION, orchestrator)


async def test_it_is_started_once_and_followed_to_its_end() -> None:
    orchestrator = Orchestrator()
    assert await carry_out(orchestrator) == ""
    assert orchestrator.asked == [["orch", "upgrade", "start", "--image", NEW]]
    assert any(text.startswith("2 of 3 daemons done") for text in orchestrator.said)
    assert await carry_out(orchestrator) == "" and len(orchestrator.asked) == 1


async def test_one_that_is_under_way_is_followed_not_started() -> None:
    orchestrator = Orchestrator(under_way=True)
    assert await carry_out(orchestrator) == ""
    assert orchestrator.asked == []


async def test_a_manager_that_fails_over_is_waited_for() -> None:
    orchestrator = Orchestrator(silent=2)
    assert await carry_out(orchestrator) == ""
    assert "the manager fails over; waiting" in orchestrator.said
    assert "ceph orch ps: Module 'orchestrator' is not enabled/loaded; waiting" in orchestrator.said


async def test_one_that_cephadm_stopped_says_why_and_goes_on_the_next_time() -> None:
    orchestrator = Orchestrator(stops_at=1)
    with pytest.raises(ShoalError, match="UPGRADE_FAILED_PULL") as caught:
        await carry_out(orchestrator)
    assert caught.value.details.strip() == "no such image"
    orchestrator.stops_at = 9
    assert await carry_out(orchestrator) == ""
    assert orchestrator.asked == [["orch", "upgrade", "start", "--image", NEW], ["orch", "upgrade", "resume"]]
    assert not orchestrator.failed, "Ceph's health would tell of it for ever"


async def test_one_to_another_image_is_not_gone_on_with() -> None:
    orchestrator = Orchestrator(under_way=True)
    orchestrator.target, orchestrator.paused = "ceph:19.2.3", True
    with pytest.raises(ShoalError, match="an upgrade to ceph:19.2.3 is under way"):
        await carry_out(orchestrator)
    assert orchestrator.asked == []
