"""A dom0 whose disk is full when the keeper starts: it works all the same, and keeps what it knows once there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from dom0.shoal_keeper import failover_roster, memory, observe
from dom0.shoal_keeper.failover_watch import Watch
from dom0.shoal_keeper.loop import Keeper


def test_the_boot_is_kept_as_soon_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a keeper that is restarted weeks later would start what people have shut down since."""
    folder, said = tmp_path / "shoal", list[str]()
    monkeypatch.setattr(memory, "FILE", str(folder / "keeper.json"))
    monkeypatch.setattr(failover_roster, "FILE", str(folder / "failover.json"))
    monkeypatch.setattr(Watch, "start", lambda _: None)
    memory.save(memory.Memory("the boot before"))
    (folder / "keeper.json.new").mkdir()  # nothing can be written there
    keeper = Keeper(lambda sentence, _: said.append(sentence), lambda *_: None)
    assert keeper._memory.owes_starts and len(said) == 1 and "cannot keep what it remembers" in said[0]
    done = keeper._memory._replace(owes_starts=False)
    keeper._remember(done)
    assert memory.load(observe.read_boot()).owes_starts, "it is kept already"
    assert len(said) == 1, "it is told in every round"
    (folder / "keeper.json.new").rmdir()
    keeper._remember(done)  # as in every round, also where nothing has changed
    assert memory.load(observe.read_boot()) == done
