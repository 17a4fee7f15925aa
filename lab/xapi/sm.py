"""Storage operations as xapi asks them of an SM driver (SMAPIv1): the request, the answer, the faults.

The pool's side: it knows the database. A driver's executable runs on a host, through that host's agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, ResponseError, dumps, loads

from lab.xapi.failure import Failure, internal_error
from lab.xapi.model import NULL

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context


class Unimplemented(Failure):
    """The driver does not do this. For some calls xapi then does something else."""


DRIVER_TIMEOUT_S = 3600.0  # xapi has none; a driver that hangs hangs its caller here, too
FAULTS = {16: "SR_DEVICE_IN_USE", 24: "VDI_IN_USE", 39: "SR_NOT_EMPTY", 144: "VDI_MISSING"}
NOT_IMPLEMENTED = 38


@dataclass(frozen=True, slots=True)
class Question:
    """One command for a driver. `members` are what it gets beside the device_config."""

    command: str
    sr_type: str
    device_config: dict[str, str]
    arguments: list[str] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)


def has_feature(context: Context, sr_type: str, feature: str) -> bool:
    rows = [context.db.row("SM", ref) for ref in context.db.where("SM", type=sr_type)]
    return any(feature in row["features"] for row in rows)


def require_feature(context: Context, sr: str, feature: str) -> None:
    if not has_feature(context, context.db.get("SR", sr, "type"), feature):
        raise Failure("SR_OPERATION_NOT_SUPPORTED", sr)


def plugged_pbd(context: Context, sr: str, host: str | None = None) -> str:
    """A plugged PBD of the SR on that host, else of where SR operations run: the master, or the local SR's host."""
    plugged = [ref for ref in context.db.where("PBD", SR=sr) if context.db.get("PBD", ref, "currently_attached")]
    wanted = host or (pool_master(context) if context.db.get("SR", sr, "shared") else None)
    for ref in plugged:
        if wanted is None or context.db.get("PBD", ref, "host") == wanted:
            return ref
    raise Failure("SR_HAS_NO_PBDS", sr)


def pool_master(context: Context) -> str:
    return str(context.db.get("pool", context.db.only("pool"), "master"))


def ask_sr(context: Context, command: str, sr: str, pbd: str, *arguments: str, **members: Any) -> Any:
    """A command about an SR, on the PBD's host."""
    row = context.db.row("SR", sr)
    question = Question(
        command,
        row["type"],
        context.db.get("PBD", pbd, "device_config"),
        list(arguments),
        {"sr_ref": sr, "sr_uuid": row["uuid"], **members},
    )
    return ask(context, question, context.db.get("PBD", pbd, "host"))


def ask_vdi(context: Context, command: str, vdi: str, host: str | None, *arguments: str, **members: Any) -> Any:
    """A command about a VDI, on that host, or where its SR's operations run."""
    row = context.db.row("VDI", vdi)
    pbd = plugged_pbd(context, row["SR"], host)
    described = {
        "vdi_ref": vdi,
        "vdi_uuid": row["uuid"],
        "vdi_location": row["location"],
        "vdi_on_boot": row["on_boot"],
        "vdi_allow_caching": str(row["allow_caching"]).lower(),
    }
    return ask_sr(context, command, row["SR"], pbd, *arguments, **described, **members)


def ask(context: Context, question: Question, host: str) -> Any:
    """Run the driver on that host and give its answer."""
    with driver_session(context, host, question.members.get("sr_ref", "")) as session:
        request = {
            "host_ref": host,
            "command": question.command,
            "args": question.arguments,
            "session_ref": session,
            "subtask_of": context.task or NULL,
            "device_config": {**question.device_config, "SRmaster": is_sr_master(context, question, host)},
            **question.members,
        }
        said = context.agent(host).call(
            "run_driver",
            DRIVER_TIMEOUT_S,
            sr_type=question.sr_type,
            request=dumps((request,), question.command),
        )
    return understand(question, said)


def is_sr_master(context: Context, question: Question, host: str) -> str:
    """Worked out anew for each call: for a shared SR the pool's master, for a local one its own host."""
    sr = question.members.get("sr_ref")
    is_master = sr is None or not context.db.get("SR", sr, "shared") or pool_master(context) == host
    return str(is_master).lower()


@contextmanager
def driver_session(context: Context, host: str, sr: str) -> Iterator[str]:
    """A session for the driver to call back with, as long as the command runs."""
    values = {
        "this_host": host,
        "originator": "__sm__backend",
        "is_local_superuser": True,
        "other_config": {"_sm_session": sr},
    }
    session = context.db.create("session", values)
    try:
        yield session
    finally:
        context.db.destroy("session", session)


def understand(question: Question, said: dict[str, Any]) -> Any:
    """What a driver's standard output means. A driver exits with 0, always; its refusals are faults."""
    if said["code"] != 0:
        raise Failure("SR_BACKEND_FAILURE", "non-zero exit", said["stdout"], said["stderr"])
    try:
        values, _ = loads(said["stdout"])
    except Fault as fault:
        raise _fault(question, fault, said["stderr"]) from fault
    except (ExpatError, ResponseError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise internal_error(f"{question.sr_type} answered {question.command} with no XML-RPC: {error}") from error
    return values[0] if values else None


def _fault(question: Question, fault: Fault, stderr: str) -> Failure:
    if fault.faultCode == NOT_IMPLEMENTED:
        return Unimplemented("UNIMPLEMENTED_IN_SM_BACKEND", question.command)
    if known := FAULTS.get(fault.faultCode):
        about = question.members.get("vdi_ref") or question.members.get("sr_ref") or ""
        return Failure(known, about)
    return Failure(f"SR_BACKEND_FAILURE_{fault.faultCode}", "", fault.faultString, stderr)


# What the driver left to the toolstack: built-in drivers do not call back, real ones have done it themselves.


def record_new_vdi(context: Context, sr: str, info: dict[str, Any], **values: Any) -> str:
    """The VDI that a driver made, its record made if the driver has not."""
    for name in ("uuid", "location"):
        if not isinstance(info, dict) or not isinstance(info.get(name), str):
            raise internal_error(f"the driver's answer has no {name}")
    found = context.db.where("VDI", uuid=info["uuid"])
    if found:
        return found[0]
    figures: dict[str, Any] = {
        name: int(info[name]) for name in ("virtual_size", "physical_utilisation") if name in info
    }
    record = {"uuid": info["uuid"], "location": info["location"], "SR": sr, "managed": True}
    return context.db.create("VDI", {**record, **values, **figures})


def take_scan(context: Context, sr: str, answer: Any) -> None:
    """What a built-in driver found: records come and go with it. A real driver answers nil, having done so itself."""
    if not isinstance(answer, list):
        return
    found = {str(info["location"]): info for info in answer}
    known = {context.db.get("VDI", ref, "location"): ref for ref in context.db.where("VDI", SR=sr)}
    for location in found.keys() - known.keys():
        info = found[location]
        record_new_vdi(context, sr, info, name_label=info.get("name_label", ""), type="user")
    for location in known.keys() - found.keys():
        context.db.destroy("VDI", known[location])
    for location in known.keys() & found.keys():
        context.db.set("VDI", known[location], virtual_size=int(found[location]["virtual_size"]))


def take_figures(context: Context, sr: str, answer: Any) -> None:
    """How full a built-in driver's SR is."""
    if isinstance(answer, dict) and "physical_size" in answer:
        context.db.set("SR", sr, **{name: int(value) for name, value in answer.items()})
