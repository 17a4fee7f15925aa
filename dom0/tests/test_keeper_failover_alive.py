"""Signs of life in Ceph: that there is none counts only where it could have been renewed. Ceph is on paper."""

from __future__ import annotations

import pytest

from dom0.shoal_keeper import observe
from dom0.shoal_keeper.failover_alive import BLIND_S, LOCK_S, Alive
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.services import Silent

PLACES = {uuid: Place(uuid, uuid, (), "", takes_part=True) for uuid in ("a", "b")}
ROSTER = Roster("a", "a", PLACES, (("rbd", ""),), ())


class Ceph:
    """b's lock: nobody has it any more, or it cannot be read."""

    is_away = False

    def lock_owner(self, _place: tuple[str, str], name: str) -> None:
        assert name == "alive-b"
        if self.is_away:
            raise Silent("no quorum")


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(observe, "read_uptime_s", lambda: made.now)
    return made


def test_a_sign_that_nobody_could_renew_is_not_missed_until_all_have_had_the_time_to(clock: Clock) -> None:
    ceph, alive = Ceph(), Alive(lambda: ROSTER)
    beats = lambda: alive.beats(ceph, ROSTER, "b")  # noqa: E731
    assert beats(), "nobody knows whether Ceph was there before"
    clock.now += BLIND_S
    assert not beats()
    clock.now += 100
    alive.note_blind()  # without quorum
    clock.now += BLIND_S - 1
    assert beats()
    clock.now += 1
    assert not beats()
    ceph.is_away = True  # the pool alone
    with pytest.raises(Silent):
        beats()
    ceph.is_away = False
    assert beats()


def test_its_own_renewal_that_fails_speaks_for_the_others(clock: Clock) -> None:
    alive = Alive(lambda: ROSTER)
    clock.now += LOCK_S + BLIND_S
    alive._renew()  # no service is known
    assert alive.beats(Ceph(), ROSTER, "b")
