"""What a person sees of plans and of a run."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text

from shoal.cli.progress import Progress
from shoal.cli.render import WORDS, SafeConsole, draw_plan, draw_results, name_action, summarize
from shoal.engine.outcome import Outcome, State
from shoal.plan.action import Action, Change, Plan
from shoal.plan.planner import KINDS
from shoal.steps.registry import DESTROY_STEPS, DISK_STEPS, HOST_STEPS, MEMBER_STEPS, UPGRADE_STEPS

CREATE = Action("partition", "xen1:1", Change.CREATE, "no partition", host="xen1")
WIPE = Action("partition", "xen2:1", Change.DESTROY, "wipe: true", host="xen2")
SAME = Action("ceph_cluster", "cluster", Change.NONE, "cluster abc", host="xen1")
POOL = Action("shared_sr", "shoal", Change.UPDATE, "[not plugged] on xen1")


def console(*, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), width=100, force_terminal=terminal, highlight=False, emoji=False, color_system=None
    )  # fmt: skip


def test_what_others_say_does_not_steer_the_terminal() -> None:
    target = SafeConsole(file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor")
    evil = "a\x1b]0;title\x07b\x9b2Jc\x00d"
    action = Action("vm_away", evil, Change.UPDATE, evil, host=evil)
    target.print(draw_plan(Plan((action,))))
    target.print(Text(evil, "bold red"), soft_wrap=True)
    target.print(evil)
    said = written(target)
    own = re.compile("\x1b\\[[0-9;]*m")  # colours
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", own.sub("", said))
    assert said.count("title") == 5 and "\x1b[1;31m" in said


def written(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def test_every_kind_has_words() -> None:
    assert set(WORDS) == {*KINDS, *DISK_STEPS, *MEMBER_STEPS, *HOST_STEPS, *DESTROY_STEPS, *UPGRADE_STEPS}


def test_a_plan_by_host_with_reasons() -> None:
    target = console()
    target.print(draw_plan(Plan((CREATE, WIPE, SAME, POOL))))
    assert [line.rstrip() for line in written(target).splitlines()] == [
        "1 to create, 1 to change, 1 TO WIPE; 1 already as wanted",
        "├── xen1",
        "│   └── + partition xen1:1  no partition",
        "├── xen2",
        "│   └── ! partition xen2:1  wipe: true",
        "└── pool",
        "    └── ~ shared SR shoal  [not plugged] on xen1",
    ]


def test_names() -> None:
    assert name_action(SAME) == "Ceph cluster"
    assert summarize(Plan((SAME,))) == "nothing to do; 1 already as wanted"


def test_results_leave_out_what_was_not_done() -> None:
    target = console()
    outcomes = (
        Outcome(CREATE, State.DONE, 1.25),
        Outcome(SAME, State.NOTHING),
        Outcome(WIPE, State.FAILED, 2.0, "disk is on fire"),
        Outcome(POOL, State.NOT_REACHED, message="waited for partition/xen2:1"),
    )
    target.print(draw_results(outcomes))
    text = written(target)
    assert "Ceph cluster" not in text
    assert "✗ partition xen2:1" in " ".join(text.split())
    assert "waited for partition/xen2:1" in text


def test_plain_lines_without_a_terminal() -> None:
    target = console()
    with Progress(target) as progress:
        progress.started(CREATE)
        for percent in range(100):
            progress.progressed(CREATE, f"{percent} %")
        progress.ended(Outcome(CREATE, State.DONE, 3.0))
    lines = [line.split(" s  ", 1)[1] for line in written(target).splitlines()]
    assert lines == ["… partition xen1:1  no partition", "  partition xen1:1: 0 %", "✓ partition xen1:1  3.0 s"]


def test_live_on_a_terminal() -> None:
    target = console(terminal=True)
    with Progress(target, total=2) as progress:
        progress.started(CREATE)
        progress.progressed(CREATE, "imported 3 of 9 MiB")
        live = console()
        live.print(progress._draw())
        progress.ended(Outcome(CREATE, State.DONE, 3.0))
    assert "imported 3 of 9 MiB" in written(live)
    assert "0 of 2" in written(live)
