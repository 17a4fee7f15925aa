"""What a person sees of plans, results and the pool's state. Values in, text out; decides nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from shoal.engine.outcome import Outcome, State
from shoal.plan.action import Action, Change, Plan

WORDS = {
    "dom0_kit": "driver in dom0",
    "pool_key": "SSH key of the storage VMs",
    "partition": "partition",
    "passthrough_sr": "passthrough SR",
    "system_disk": "system disk",
    "storage_vm": "storage VM",
    "storage_vm_ready": "storage VM up",
    "toolstack": "toolstack restart",
    "ceph_cluster": "Ceph cluster",
    "ceph_host": "Ceph host",
    "ceph_settings": "Ceph settings",
    "ceph_mons": "Ceph monitors",
    "ceph_mgrs": "Ceph managers",
    "ceph_osd": "OSD",
    "ceph_pool": "Ceph pool",
    "ceph_namespace": "Ceph namespace",
    "ceph_user": "Ceph user",
    "volume_clients": "clients of the volume services",
    "volume_client": "volume client in dom0",
    "volume_service": "volume service's files",
    "volume_services": "volume services",
    "ceph_image": "RBD image of the SR",
    "lvm_conf": "LVM's settings in dom0",
    "rbd_map": "RBD images mapped in dom0",
    "shared_sr": "shared SR",
    "default_sr": "default SR",
    "keeper": "keeper in dom0",
    "marks": "marks and alerts",
    "ceph_upgrade": "upgrade of Ceph",
    "volume_services_image": "image of the volume services",
    "disk_import": "import of",
    "disk_export": "export of",
    "disk_move": "move of",
    "reboot_due": "to be rebooted:",
    "ceph_spare": "Ceph's leave for",
    "host_mark": "maintenance mark of",
    "host_left": "leave of",
    "host_enabled": "host",
    "vm_away": "leaving VM",
    "sr_on_host": "SR",
    "osd_noout": "OSDs of",
    "storage_vm_off": "storage VM of",
    "host_restart": "reboot of",
    "ceph_back": "Ceph daemons of",
    "ceph_clean": "Ceph after",
    "vm_back": "VM taken away before:",
    "osd_removal": "OSD leaves disk",
    "disk_removal": "disk leaves",
    "spec_edit": "the spec",
    "keeper_removal": "keeper leaves",
    "pbd_removal": "shared SRs leave",
    "rbd_map_removal": "RBD images leave",
    "ceph_host_removal": "Ceph leaves",
    "storage_vm_removal": "storage VM leaves",
    "passthrough_sr_removal": "passthrough SR leaves",
    "dom0_kit_removal": "driver leaves dom0 of",
    "host_marks_removal": "marks leave",
}
_SIGNS = {
    Change.NONE: ("=", "dim"),
    Change.CREATE: ("+", "green"),
    Change.UPDATE: ("~", "yellow"),
    Change.REMOVE: ("-", "yellow"),
    Change.DESTROY: ("!", "bold red"),
}
_MARKS = {
    State.DONE: ("✓", "green"),
    State.NOTHING: ("=", "dim"),
    State.FAILED: ("✗", "bold red"),
    State.NOT_REACHED: ("·", "yellow"),
    State.INTERRUPTED: ("✗", "yellow"),
}


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line end
_WIDTH_OF_FILES = 160  # where there is no terminal to tell its width


class SafeConsole(Console):
    """What a guest or a name in the pool says must not steer the terminal: control characters are shown, not sent."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), style, control)


def output_console() -> Console:
    console = SafeConsole(highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def error_console() -> Console:
    return SafeConsole(stderr=True, highlight=False, emoji=False, markup=False)


def name_action(action: Action) -> str:
    """Such as "partition xen1:1", or "Ceph cluster"."""
    word = WORDS.get(action.kind, action.kind)
    return word if action.target in ("cluster", "pool", "spec") else f"{word} {action.target}"


def draw_plan(plan: Plan, *, everything: bool = False) -> Tree:
    """The plan by host, each item with its reason; DESTROY stands out."""
    shown = plan.actions if everything else plan.changes
    tree = Tree(summarize(plan))
    for group, actions in _grouped(shown).items():
        branch = tree.add(Text(group, "bold"))
        for action in actions:
            sign, style = _SIGNS[action.change]
            branch.add(Text.assemble((f"{sign} {name_action(action)}", style), (f"  {action.reason}", "dim")))
    return tree


def summarize(plan: Plan) -> str:
    """Such as "3 to create, 1 to change; 40 already as wanted"."""
    words = {
        Change.CREATE: "to create",
        Change.UPDATE: "to change",
        Change.REMOVE: "to remove",
        Change.DESTROY: "TO WIPE",
    }
    parts = [f"{count} {word}" for change, word in words.items() if (count := _count(plan.actions, change))]
    same = _count(plan.actions, Change.NONE)
    return f"{', '.join(parts) or 'nothing to do'}; {same} already as wanted"


def draw_results(outcomes: Iterable[Outcome]) -> Table:
    """What was done, in the order of the plan, with seconds."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_column("")
    for outcome in outcomes:
        if outcome.state is State.NOTHING:
            continue
        mark, style = _MARKS[outcome.state]
        seconds = f"{outcome.seconds:.1f}" if outcome.state is not State.NOT_REACHED else ""
        message = "" if outcome.state is State.DONE else outcome.message or str(outcome.state)
        table.add_row(Text(mark, style), name_action(outcome.action), seconds, Text(message, style))
    return table


def result_line(outcome: Outcome) -> Text:
    mark, style = _MARKS[outcome.state]
    message = f"  {outcome.message}" if outcome.message else ""
    return Text.assemble(
        (f"{mark} ", style), name_action(outcome.action), (f"  {outcome.seconds:.1f} s", "dim"), message
    )


def _count(actions: Sequence[Action], change: Change) -> int:
    return sum(action.change is change for action in actions)


def _grouped(actions: Iterable[Action]) -> dict[str, list[Action]]:
    """By host, in order of appearance; what loads no host of its own is the pool's."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        groups.setdefault(action.host or "pool", []).append(action)
    return groups
