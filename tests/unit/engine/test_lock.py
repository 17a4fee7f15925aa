"""The pool's lock, against a small toolstack with xapi's rules for other_config."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoal.engine import lock as lock_module
from shoal.engine import meanwhile as meanwhile_module
from shoal.engine.lock import KEY, RENEWED_KEY, WAITS_KEY, LockHeld, LockLost, PoolLock, hold
from shoal.engine.meanwhile import Meanwhile
from shoal.engine.process import is_gone, this_process
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import wait_until


class Refused(ShoalError):
    code = "MAP_DUPLICATE_KEY"


class Toolstack:
    """A pool's other_config, whose clock can be turned forward."""

    def __init__(self) -> None:
        self.config: dict[str, str] = {"owner": "somebody"}
        self.now = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
        self.master = "host"
        self.is_away = self.refuses = False
        self.has_time = True

    async def call(self, method: str, *params: object) -> object:
        await asyncio.sleep(0)
        if self.is_away:
            raise TemporaryError("it restarts")
        if self.refuses or (method == "host.get_servertime" and (params[0] != self.master or not self.has_time)):
            raise ShoalError("HOST_STILL_BOOTING, or the host is gone")
        key = str(params[1]) if len(params) > 1 else ""
        if method == "pool.add_to_other_config":
            if key in self.config:
                raise Refused(method)
            self.config[key] = str(params[2])
        elif method == "pool.remove_from_other_config":
            self.config.pop(key, None)
        answers: dict[str, Any] = {
            "pool.get_all": ["pool"],
            "pool.get_master": self.master,
            "pool.get_other_config": dict(self.config),
            "host.get_servertime": self.now.strftime("%Y%m%dT%H:%M:%SZ"),
        }
        return answers.get(method, "")

    async def look_for_new_sign(self) -> str:
        sign = self.config.get(RENEWED_KEY, "none")
        return "" if sign.endswith(self.now.isoformat()) else sign

    def held_by(self, *, age_s: float, **process: object) -> None:
        since = (self.now - timedelta(seconds=age_s)).isoformat()
        values = {"token": "theirs", "since": since, "who": "ann", "host": "desk", "pid": 1, "started": 2, **process}
        self.config[KEY] = json.dumps(values)


@pytest.fixture
def toolstack() -> Toolstack:
    return Toolstack()


async def test_it_is_there_while_held_and_gone_afterwards(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack)):
        holder = json.loads(toolstack.config[KEY])
        assert holder["pid"] == os.getpid()
        assert RENEWED_KEY in toolstack.config
    assert toolstack.config == {"owner": "somebody"}


async def test_it_is_gone_after_an_error_too(toolstack: Toolstack) -> None:
    with pytest.raises(ValueError, match="inside"):
        async with hold(PoolLock(toolstack)):
            raise ValueError("inside")
    assert toolstack.config == {"owner": "somebody"}


async def test_the_second_is_told_who_holds_it_and_since_when(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack)):
        with pytest.raises(LockHeld) as caught:
            await PoolLock(toolstack).acquire()
    assert f"pid {os.getpid()}" in caught.value.brief
    assert "2026-11-22 17:00:00 UTC" in caught.value.brief
    assert caught.value.exit_code == 1


async def test_of_many_at_once_one_gets_it(toolstack: Toolstack) -> None:
    locks = [PoolLock(toolstack) for _ in range(8)]
    results = await asyncio.gather(*(lock.acquire() for lock in locks), return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, LockHeld) for result in results) == 7


async def test_a_dead_lock_is_taken_over_by_one_of_many(toolstack: Toolstack) -> None:
    toolstack.held_by(age_s=1000)
    toolstack.config[RENEWED_KEY] = f"theirs {(toolstack.now - timedelta(seconds=91)).isoformat()}"
    locks = [PoolLock(toolstack, settle_s=0.05) for _ in range(8)]
    results = await asyncio.gather(*(lock.acquire() for lock in locks), return_exceptions=True)
    assert results.count(None) == 1, results


async def test_a_living_lock_is_not_taken_over(toolstack: Toolstack) -> None:
    toolstack.held_by(age_s=1000)
    toolstack.config[RENEWED_KEY] = f"theirs {(toolstack.now - timedelta(seconds=89)).isoformat()}"
    with pytest.raises(LockHeld, match="ann@desk"):
        await PoolLock(toolstack).acquire()


async def test_one_whose_sign_of_life_is_being_renewed_is_not_taken_over(toolstack: Toolstack) -> None:
    toolstack.held_by(age_s=1000)  # its sign was taken away a moment ago

    async def renew() -> None:
        await asyncio.sleep(0.05)
        toolstack.config[RENEWED_KEY] = f"theirs {toolstack.now.isoformat()}"

    renewing = asyncio.create_task(renew())
    with pytest.raises(LockHeld, match="ann@desk"):
        await PoolLock(toolstack, settle_s=0.02).acquire()
    await renewing
    assert json.loads(toolstack.config[KEY])["token"] == "theirs"


async def test_one_that_gives_no_sign_is_taken_over(toolstack: Toolstack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "NEXT_SIGN_S", 0.05)
    toolstack.held_by(age_s=91)
    async with hold(PoolLock(toolstack, settle_s=0.02)):
        assert json.loads(toolstack.config[KEY])["pid"] == os.getpid()
    assert lock_module.NEXT_SIGN_S < lock_module.RENEW_EVERY_S * 2


async def test_an_old_sign_of_life_of_another_holder_counts_for_nothing(toolstack: Toolstack) -> None:
    toolstack.held_by(age_s=1)
    toolstack.config[RENEWED_KEY] = f"someone's {(toolstack.now - timedelta(hours=1)).isoformat()}"
    with pytest.raises(LockHeld):
        await PoolLock(toolstack).acquire()


async def test_the_lock_of_a_process_that_was_killed_here_is_taken_over_at_once(toolstack: Toolstack) -> None:
    me = this_process()
    toolstack.held_by(age_s=1, boot=me.boot, pid=me.pid, started=me.started - 1)
    async with hold(PoolLock(toolstack, settle_s=0)):
        assert json.loads(toolstack.config[KEY])["started"] == me.started


async def test_a_process_of_another_machine_is_never_surely_gone(toolstack: Toolstack) -> None:
    toolstack.held_by(age_s=1, boot="another", pid=2**22)
    with pytest.raises(LockHeld):
        await PoolLock(toolstack).acquire()


async def test_a_damaged_lock_is_taken_over(toolstack: Toolstack) -> None:
    toolstack.config[KEY] = "[not what Shoal writes"
    async with hold(PoolLock(toolstack, settle_s=0)):
        assert "token" in json.loads(toolstack.config[KEY])


async def test_when_it_is_taken_away_the_work_stops(toolstack: Toolstack) -> None:
    with pytest.raises(LockLost, match="taken away"):
        async with hold(PoolLock(toolstack), renew_every_s=0.01):
            toolstack.held_by(age_s=0)
            await asyncio.sleep(5)
    assert json.loads(toolstack.config[KEY])["token"] == "theirs"


async def test_a_toolstack_that_restarts_does_not_end_the_work(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack), renew_every_s=0.01):
        toolstack.is_away = True
        await asyncio.sleep(0.05)
        toolstack.is_away = False
        await asyncio.sleep(0.05)
    assert toolstack.config == {"owner": "somebody"}


async def test_a_toolstack_that_refuses_for_now_does_not_end_the_signs_of_life(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack), renew_every_s=0.01):
        toolstack.refuses = True
        await asyncio.sleep(0.05)
        toolstack.refuses = False
        toolstack.now += timedelta(seconds=60)
        await wait_until(toolstack.look_for_new_sign, deadline_s=5, what="a sign of life", every_s=0.01)


async def test_the_sign_of_life_stays_while_the_time_cannot_be_asked(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack), renew_every_s=0.01):
        toolstack.has_time = False
        await asyncio.sleep(0.05)
        assert RENEWED_KEY in toolstack.config


async def test_the_time_is_that_of_the_master_of_now(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack), renew_every_s=0.01):
        toolstack.master, toolstack.now = "another host", toolstack.now + timedelta(seconds=60)
        await wait_until(toolstack.look_for_new_sign, deadline_s=5, what="a sign of life", every_s=0.01)


async def test_one_that_cannot_let_go_ends_all_the_same(toolstack: Toolstack) -> None:
    async with hold(PoolLock(toolstack)):
        toolstack.is_away = True
    assert KEY in toolstack.config  # it grows stale


async def test_a_cancelled_body_lets_go(toolstack: Toolstack) -> None:
    async def body() -> None:
        async with hold(PoolLock(toolstack)):
            await asyncio.sleep(30)

    task = asyncio.create_task(body())
    await asyncio.sleep(0.05)
    assert KEY in toolstack.config
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert toolstack.config == {"owner": "somebody"}


@pytest.mark.parametrize("moment", range(12))
async def test_cancelled_while_it_acquires_it_leaves_nothing(toolstack: Toolstack, moment: int) -> None:
    async def body() -> None:
        async with hold(PoolLock(toolstack)):
            await asyncio.sleep(30)

    task = asyncio.create_task(body())
    for _ in range(moment):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert toolstack.config == {"owner": "somebody"}


async def test_while_anybody_waits_the_mark_is_there_and_the_lock_is_held(toolstack: Toolstack) -> None:
    meanwhile = Meanwhile(toolstack)
    async with hold(PoolLock(toolstack)):
        async with meanwhile():
            async with meanwhile():
                assert WAITS_KEY in toolstack.config
            assert WAITS_KEY in toolstack.config
            with pytest.raises(LockHeld):
                await PoolLock(toolstack).acquire()
        assert WAITS_KEY not in toolstack.config
        toolstack.is_away = True
        async with meanwhile():  # the wait itself is none of its business
            toolstack.is_away = False
    assert toolstack.config == {"owner": "somebody"}


async def test_the_mark_goes_also_where_the_toolstack_is_away_for_a_moment(
    toolstack: Toolstack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meanwhile_module, "PAUSE_S", 0.02)
    async with hold(PoolLock(toolstack)):
        async with Meanwhile(toolstack)():
            toolstack.is_away = True
            asyncio.get_running_loop().call_later(0.03, setattr, toolstack, "is_away", False)
        assert WAITS_KEY not in toolstack.config


async def test_the_mark_of_one_that_was_killed_goes_when_the_lock_is_taken(toolstack: Toolstack) -> None:
    me = this_process()
    toolstack.held_by(age_s=1, boot=me.boot, pid=me.pid, started=me.started - 1)
    toolstack.config[WAITS_KEY] = "keepers go on"
    async with hold(PoolLock(toolstack, settle_s=0)):
        assert WAITS_KEY not in toolstack.config


def test_this_process_is_not_gone() -> None:
    assert not is_gone(this_process())
    assert lock_module.RENEW_EVERY_S * 3 < lock_module.STALE_AFTER_S
