"""One item of a plan, and the plan itself. "Nothing to do" is an action too, with the reason why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shoal.spec.problem import Problem

__all__ = ["Action", "Change", "Plan", "Problem"]


class Change(StrEnum):
    NONE = "none"
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"  # what Shoal made and can make again
    DESTROY = "destroy"  # data with it


@dataclass(frozen=True, slots=True)
class Action:
    """`kind` names the file in plan/ that planned it and the file in steps/ that carries it out.

    `settings` holds plain values out of the spec (never a secret, never a fact that may be stale when the step runs: a
    step looks up refs, uuids and addresses itself).
    """

    kind: str
    target: str  # a host's name, a disk, an SR's name; unique within its kind
    change: Change
    reason: str
    host: str = ""  # the host that the work loads, for the executor's limit per host; "" for none
    needs: frozenset[str] = frozenset()  # ids of actions that must have been done before
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """`problems` first: while there is one, nothing is carried out."""

    actions: tuple[Action, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def changes(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.change is not Change.NONE)
