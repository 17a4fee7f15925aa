"""Whose the Ceph pool is when the shared SR is to be made, and what becomes of an SR whose making was cut short."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients.xenapi import XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps import sr_owner
from shoal.steps.tools import Tools

OURS = "11111111-1111-1111-1111-111111111111"
SETTINGS = {"type": "rbd", "pool": "rbd", "namespace": "xen"}
ACTION = Action("shared_sr", "my disks", Change.CREATE, "there is no SR", settings=SETTINGS)


class Pool:
    """SRs by ref, and the mark in the Ceph pool; both xapi and Ceph for what is asked here."""

    def __init__(self) -> None:
        self.srs: dict[str, dict[str, Any]] = {}
        self.mark: str | None = None
        self.said: list[str] = []

    def tools(self, *, existing: object = None) -> Tools:
        async def ceph() -> Pool:
            return self

        spec = SimpleNamespace(ceph=SimpleNamespace(existing=existing))
        connections: Any = SimpleNamespace(xenapi=self, spec=spec, ceph=ceph)
        return Tools(connections, lambda _, text: self.said.append(text))

    async def read_object(self, *place: str) -> str | None:
        assert place == ("rbd", "xen", "shoal.owner")
        return self.mark

    async def text(self, method: str, *params: Any) -> str:
        if method == "SR.introduce":
            uuid, name, _, kind, _, shared, _ = params
            self.srs["introduced"] = {"uuid": uuid, "name_label": name, "type": kind, "shared": shared}
            return "introduced"
        if method == "SR.get_by_uuid":
            for ref, record in self.srs.items():
                if record["uuid"] == params[0]:
                    return ref
            raise XenApiError(method, "UUID_INVALID", ("SR", params[0]))
        assert method == "SR.get_name_label"
        return str(self.srs[params[0]]["name_label"])


def mark_of(uuid: str) -> str:
    return json.dumps({"sr": uuid})


@pytest.fixture
def pool() -> Pool:
    return Pool()


async def test_a_pool_that_is_nobodys_is_for_a_new_sr(pool: Pool) -> None:
    assert await sr_owner.take_up(ACTION, pool.tools()) is None


async def test_an_sr_that_took_the_pool_and_was_forgotten_by_xapi_comes_back(pool: Pool) -> None:
    """SR.create failed for want of an answer, and the volume service had taken the pool all the same."""
    tools = pool.tools()
    assert await sr_owner.take_up(ACTION, tools) is None
    pool.mark = mark_of(OURS)
    assert await sr_owner.take_up(ACTION, tools) == "introduced"
    assert pool.srs["introduced"] == {"uuid": OURS, "name_label": "my disks", "type": "rbd", "shared": True}
    assert OURS in pool.said[0]


async def test_a_pool_of_an_sr_that_nobody_here_knows_is_not_taken(pool: Pool) -> None:
    """It was that before this run began: another pool may have it."""
    pool.mark = mark_of(OURS)
    with pytest.raises(ShoalError, match=f"belongs to SR {OURS}") as raised:
        await sr_owner.take_up(ACTION, pool.tools())
    assert f"xe sr-introduce uuid={OURS} type=rbd name-label='my disks'" in str(raised.value.resolution)
    assert pool.srs == {}


async def test_an_sr_of_another_name_is_named(pool: Pool) -> None:
    pool.mark, pool.srs["sr"] = mark_of(OURS), {"uuid": OURS, "name_label": "another name"}
    with pytest.raises(ShoalError, match="belongs to the SR 'another name'"):
        await sr_owner.take_up(ACTION, pool.tools())


async def test_a_mark_that_is_no_mark_is_refused(pool: Pool) -> None:
    pool.mark = "[]"
    with pytest.raises(ShoalError, match="not as Shoal wrote it"):
        await sr_owner.take_up(ACTION, pool.tools())


async def test_neither_lvm_nor_a_ceph_of_others_is_looked_into(pool: Pool) -> None:
    pool.mark = mark_of(OURS)
    lvm = dataclasses.replace(ACTION, settings={**SETTINGS, "type": "lvm"})
    assert await sr_owner.take_up(lvm, pool.tools()) is None
    assert await sr_owner.take_up(ACTION, pool.tools(existing="a cluster")) is None
