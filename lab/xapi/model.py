"""Kinds of objects: their fields and calls, in the data model's own words. Values only, no I/O.

A kind's fields are a small table, columns two spaces or more apart: name, access, type, default.
Access: `run` (the toolstack sets it), `new` (given at creation), `rw`. Default `-`: the model gives none.
`<- SR` in place of a default: a back reference, all objects of that type whose field `SR` points here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NULL = "OpaqueRef:NULL"
NEVER = "19700101T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    access: str
    type: str
    default: str | None
    back: str | None  # the field of the other kind that points here

    @property
    def is_given_at_creation(self) -> bool:
        return self.access in {"new", "rw"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call that clients can make. `name` has its class: "VM.start"."""

    name: str
    parameters: tuple[tuple[str, str], ...]  # name and type; the session comes first and is not listed
    result: str
    function: Callable[..., Any]
    required: int  # how many parameters have no default
    session: bool = True
    hidden: bool = False  # real xapi has it, its published model does not
    implicit: bool = False


@dataclass(slots=True)
class Kind:
    """A class of XenAPI. `persistent`: its objects outlive a restart of the toolstack."""

    name: str
    fields: dict[str, Field]
    persistent: bool = True
    calls: dict[str, Call] = field(default_factory=dict)

    def call(
        self,
        result: str = "void",
        /,
        *,
        session: bool = True,
        hidden: bool = False,
        called: str = "",
        **parameters: str,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Serve a function as a call of this kind: `@PBD.call(self="PBD ref")`. Its first parameter is the context."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            own = called or function.__name__
            given = list(inspect.signature(function).parameters.values())[1:]
            required = sum(parameter.default is inspect.Parameter.empty for parameter in given)
            full = f"{self.name}.{own}"
            self.calls[own] = Call(full, tuple(parameters.items()), result, function, required, session, hidden)
            return function

        return register


KINDS: dict[str, Kind] = {}


def kind(name: str, table: str, *, persistent: bool = True) -> Kind:
    """Make and register a kind from its table of fields."""
    made = Kind(name, {}, persistent)
    for line in table.strip().splitlines():
        own, access, type_, default = re.split(r"\s{2,}", line.strip())
        back = default.removeprefix("<-").strip() if default.startswith("<-") else None
        made.fields[own] = Field(own, access, type_, None if back or default == "-" else default, back)
    KINDS[name] = made
    return made


def default_value(of: Field) -> Any:
    """What a field holds when nothing was given."""
    if of.type.endswith(" ref"):
        return NULL
    if of.type.endswith(" set"):
        return []
    if of.type.endswith(" map"):
        return {}
    given = (of.default or "").strip('"')
    match of.type:
        case "int":
            return int(given or 0)
        case "float":
            return float(given or 0)
        case "bool":
            return given == "true"
        case "datetime":
            return given or NEVER
    return given


# The values of the enumerations that clients send; others are not checked.
ENUMS: dict[str, frozenset[str]] = {
    "vdi_type": frozenset(
        {"system", "user", "ephemeral", "suspend", "crashdump", "ha_statefile", "metadata", "redo_log", "rrd"}
        | {"pvs_cache", "cbt_metadata"}
    ),
    "on_boot": frozenset({"reset", "persist"}),
    "vbd_mode": frozenset({"RO", "RW"}),
    "vbd_type": frozenset({"CD", "Disk", "Floppy"}),
    "vm_power_state": frozenset({"Halted", "Paused", "Running", "Suspended"}),
    "on_normal_exit": frozenset({"destroy", "restart"}),
    "on_softreboot_behavior": frozenset({"soft_reboot", "destroy", "restart", "preserve"}),
    "on_crash_behaviour": frozenset(
        ["destroy", "coredump_and_destroy", "restart", "coredump_and_restart", "preserve", "rename_restart"]
    ),
    "domain_type": frozenset({"hvm", "pv", "pv_in_pvh", "pvh", "unspecified"}),
    "vif_locking_mode": frozenset({"network_default", "locked", "unlocked", "disabled"}),
    "task_status_type": frozenset({"pending", "success", "failure", "cancelling", "cancelled"}),
}
