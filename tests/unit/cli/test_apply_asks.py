"""`apply` asks on a real terminal, and only yes is yes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import converge
from shoal.cli import main
from shoal.engine.outcome import Outcome, State
from shoal.plan.action import Action, Change, Plan

BASE = (Path(__file__).parents[2] / "cases" / "base.yaml").read_text()
ACTION = Action("partition", "xen1:1", Change.CREATE, "no partition", host="xen1")


@pytest.mark.parametrize(
    ("answer", "code", "done"), [("yes", 0, True), ("y", 1, False), ("", 1, False), ("no", 1, False)]
)
def test_answers(
    answer: str,
    code: int,
    done: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    carried_out = []

    async def apply(document: Any, state: Path, *, confirm: Callable[[Plan], Awaitable[bool]], watcher: Any) -> Any:
        plan = Plan((ACTION,))
        if not await confirm(plan):
            return converge.Result(plan)
        carried_out.append(ACTION)
        outcome = Outcome(ACTION, State.DONE, 1.0)
        watcher.started(ACTION)
        watcher.ended(outcome)
        return converge.Result(plan, {ACTION.id: outcome}, 2.0)

    monkeypatch.setattr(converge, "apply", apply)
    monkeypatch.setenv("SHOAL_POOL_PASSWORD", "s3cret")
    spec = tmp_path / "shoal.yaml"
    spec.write_text(BASE)
    person, terminal = os.openpty()
    os.write(person, f"{answer}\n".encode())
    with os.fdopen(terminal, "r") as stdin, pytest.raises(SystemExit) as caught:
        monkeypatch.setattr("sys.stdin", stdin)
        main(["apply", "-f", str(spec), "--state", str(tmp_path)])
    os.close(person)
    said = capsys.readouterr().out
    assert caught.value.code == code
    assert bool(carried_out) == done
    assert "+ partition xen1:1  no partition" in said
    assert ("1 done in 2.0 s" in said) == done
    assert ("Nothing was touched." in said) != done
