"""Records of `noout` whose monitors refuse, or do not answer. librados and the monitors are on paper."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import volumes
from volumes.errors import ServiceError


@pytest.fixture
def noout(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module with a librados of which it needs hardly anything. It is imported anew after this test."""
    paper = {"ReadOpCtx": nullcontext, "WriteOpCtx": nullcontext, "ObjectNotFound": KeyError}
    monkeypatch.setitem(sys.modules, "rados", SimpleNamespace(**paper))
    monkeypatch.delitem(sys.modules, "volumes.noout", raising=False)
    import volumes.noout as module

    yield module
    del sys.modules["volumes.noout"], volumes.noout


class Records:
    """A pool with one object."""

    def __init__(self, **records: float) -> None:
        self.records = {machine: b"%.0f" % until for machine, until in records.items()}
        self.ioctx = self

    def get_omap_vals(self, *_: Any) -> tuple[Any, int]:
        return self.records.items(), 0

    def operate_read_op(self, *_: Any) -> None: ...

    def set_omap(self, _: None, machines: tuple[str, ...], values: tuple[bytes, ...]) -> None:
        self.records.update(zip(machines, values, strict=True))

    def remove_omap_keys(self, _: None, machines: tuple[str, ...]) -> None:
        for machine in machines:
            del self.records[machine]

    def operate_write_op(self, *_: Any) -> None: ...


class Monitors:
    """`troubles`: what they answer for a machine."""

    def __init__(self, **troubles: int) -> None:
        self._troubles = troubles
        self.done: list[str] = []

    def command(self, **_: str) -> dict[str, Any]:
        return {}

    def order(self, *, who: list[str], **_: str) -> bytes:
        if who[0] in self._troubles:
            raise ServiceError(502, "ceph_failed", "a test", errno=self._troubles[who[0]])
        self.done += who
        return b""


def test_the_record_stays_where_the_monitors_may_set_the_flag_later(noout: ModuleType) -> None:
    monitors = Monitors(late=errno.ETIMEDOUT, unknown=errno.EINVAL, forbidden=errno.EACCES, known=errno.EACCES)
    pool = Records(known=time.time() + 9)
    for machine in ("late", "unknown", "forbidden", "known"):
        with pytest.raises(ServiceError):
            noout.hold(pool, monitors, machine, 60)
    assert set(pool.records) == {"late", "known"}


def test_a_machine_that_cannot_be_ended_stops_no_other(noout: ModuleType) -> None:
    monitors, pool = Monitors(a_gone=errno.EINVAL, b_refused=errno.EACCES), Records(a_gone=1, b_refused=1, c=1, d=1e12)
    assert noout.end_overdue(pool, monitors) == ["a_gone", "c"]
    assert monitors.done == ["c"] and set(pool.records) == {"b_refused", "d"}
