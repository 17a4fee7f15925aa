"""When failover does nothing: it must not compete with high availability, nor act where it is not wanted."""

from __future__ import annotations

from typing import Any

import pytest

from dom0.shoal_keeper.failover_look import Records, StandsBack

Marks = dict[str, str]
SHOALS: Marks = {"shoal:ssh-key": "a secret's uuid"}


def refusal(*, pool: Marks = SHOALS, host: Marks | None = None, ha: bool = False, own: str = "a") -> str:
    """Why the pool is not looked at any further; the toolstack says what it is asked first."""

    def call(method: str) -> Any:
        if method == "pool.get_all_records":
            return {"pool": {"other_config": pool, "ha_enabled": ha}}
        if method == "host.get_all_records":
            return {"ref-a": {"uuid": "a", "other_config": host or {}}}
        raise LookupError("it looks further")

    with pytest.raises((StandsBack, LookupError)) as error:
        Records(call, own)
    return str(error.value)


def test_it_looks_on_in_a_pool_of_shoals() -> None:
    assert refusal() == refusal(pool={}, host={"shoal:kit": "digest"}) == "it looks further"


def test_it_stands_back_with_high_availability_on() -> None:
    assert refusal(ha=True) == "xapi's high availability is on"


def test_it_stands_back_where_it_is_not_wanted() -> None:
    assert refusal(pool={}) == "Shoal has not set up this pool"
    assert refusal(host={"shoal:maintenance": "fan"}) == "the host carries the mark shoal:maintenance"
    assert refusal(own="b") == "this host has left the pool"
