"""The same call at two services at once, as when a driver has given up one of them and asks the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok

pytestmark = pytest.mark.ceph
ROUNDS = 5


@pytest.fixture(scope="module")
def both(service: Service) -> Iterator[tuple[Calls, Calls]]:
    second = Service(service.cluster, service.files, service.authority)
    second.start()
    yield Calls(service, "other"), Calls(second, "other")
    second.kill()


@pytest.fixture
def within(service: Service, both: tuple[Calls, Calls]) -> Iterator[Inside]:
    dialog = Inside(service.cluster, "other")
    yield dialog
    both[0].sweep()
    assert leftovers_of(dialog) == []
    dialog.stop()


def at_once(both: tuple[Calls, Calls], *call: Any) -> list[tuple[int, dict[str, Any]]]:
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda calls: calls.ask(*call), [*both, *both]))


def codes(answers: list[tuple[int, dict[str, Any]]]) -> set[str]:
    return {"ok" if status == 200 else answer["error"]["code"] for status, answer in answers}


def test_all_of_them_succeed_and_it_is_done_once(both: tuple[Calls, Calls], within: Inside) -> None:
    for _ in range(ROUNDS):
        volume, clone, copy, snapshot = new_id(), new_id(), new_id(), new_id()
        body: dict[str, Any] = {"size_bytes": 8 * MIB, "metadata": {"name_label": "x"}}
        assert codes(at_once(both, "PUT", f"volumes/{volume}", body)) == {"ok"}
        within.do("write", image=f"vdi-{volume}", blocks={0: "a"})
        taken = at_once(both, "POST", f"volumes/{volume}/snapshot", {"snapshot": snapshot, "metadata": {}})
        assert codes(taken) == {"ok"}
        (location,) = {answer["location"] for _, answer in taken}
        assert codes(at_once(both, "PUT", f"volumes/{clone}", {"source": location, "metadata": {}})) == {"ok"}
        assert codes(at_once(both, "PUT", f"volumes/{copy}", {"source": volume, "metadata": {}})) == {"ok"}
        for made in (clone, copy):
            assert within.do("read", image=f"vdi-{made}", blocks=[0]) == {"0": "a"}
        grown = at_once(both, "POST", f"volumes/{volume}/resize", {"size_bytes": 16 * MIB})
        assert codes(grown) == {"ok"}
        assert ok(both[0].ask("GET", f"volumes/{volume}"))["size_bytes"] == 16 * MIB
        listed = both[1].listed()
        assert sorted(entry["id"] for entry in listed["volumes"]) == sorted((volume, clone, copy))
        assert [entry["location"] for entry in listed["snapshots"]] == [location]
        for what in (f"snapshots/{location}", *(f"volumes/{each}" for each in (volume, clone, copy))):
            assert codes(at_once(both, "DELETE", what)) == {"ok"}


def test_reverts_do_not_get_into_each_others_way(both: tuple[Calls, Calls], within: Inside) -> None:
    volume = new_id()
    both[0].create(volume, 8 * MIB)
    within.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    location = both[0].snapshot(volume)
    for _ in range(ROUNDS):
        within.do("write", image=f"vdi-{volume}", blocks={0: "b"})
        answers = at_once(both, "POST", f"volumes/{volume}/revert", {"snapshot": location})
        assert codes(answers) == {"ok"}, answers
        assert within.do("read", image=f"vdi-{volume}", blocks=[0]) == {"0": "a"}
        assert [entry["id"] for entry in both[1].listed()["volumes"]] == [volume]
    both[0].delete(volume)
    both[0].delete(location)
