"""SR: storage repositories. What touches storage goes to the driver, on the master for a shared SR."""

from __future__ import annotations

import logging
import uuid as uuids
from typing import TYPE_CHECKING

from lab.xapi import sm
from lab.xapi.classes import pbd as pbds
from lab.xapi.classes.secret import duplicate_secrets, move_passwords
from lab.xapi.failure import Failure
from lab.xapi.implicit import make_call
from lab.xapi.model import NULL, kind
from lab.xapi.records import serve_setters

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

log = logging.getLogger(__name__)

SR = kind(
    "SR",
    """
    uuid                  run  string                                   -
    name_label            new  string                                   ""
    name_description      new  string                                   ""
    allowed_operations    run  enum storage_operations set              {}
    current_operations    run  (string -> enum storage_operations) map  {}
    VDIs                  run  VDI ref set                              <- SR
    PBDs                  run  PBD ref set                              <- SR
    virtual_allocation    run  int                                      -
    physical_utilisation  run  int                                      -
    physical_size         new  int                                      -
    type                  new  string                                   -
    content_type          new  string                                   -
    shared                run  bool                                     -
    other_config          rw   (string -> string) map                   -
    tags                  rw   string set                               {}
    sm_config             rw   (string -> string) map                   {}
    local_cache_enabled   run  bool                                     false
    clustered             run  bool                                     false
    is_tools_sr           run  bool                                     false
    """,
)

serve_setters(SR, "physical_size")
serve_setters(SR, "physical_utilisation", "virtual_allocation", hidden=True)  # drivers' own


@SR.call(
    "SR ref", host="host ref", device_config="(string -> string) map", physical_size="int", name_label="string",
    name_description="string", type="string", content_type="string", shared="bool",
    sm_config="(string -> string) map",
)  # fmt: skip
def create(
    context: Context,
    host: str,
    device_config: dict[str, str],
    physical_size: int,
    name_label: str,
    name_description: str,
    type: str,
    content_type: str,
    shared: bool,  # noqa: FBT001  XenAPI's order
    sm_config: dict[str, str],
) -> str:
    """Make it on the storage, then its record, a PBD on each host that shares it, and plug these."""
    context.db.row("host", host)
    check_type(context, type.lower())
    device_config = move_passwords(context, device_config)
    sr = str(introduce(context, "", name_label, name_description, type, content_type, shared, sm_config))
    hosts = context.db.refs("host") if shared else [host]
    made: list[str] = []
    try:
        for one in hosts:
            config = device_config if one == host else duplicate_secrets(context, device_config)
            made.append(pbds.create_record(context, one, sr, config))
        first = next(ref for ref in made if context.db.get("PBD", ref, "host") == host)
        with pbds.pretending_attached(context, first):
            sm.ask_sr(context, "sr_create", sr, first, str(physical_size))
    except Failure:
        for ref in made:
            pbds.destroy_record(context, ref)
        context.db.destroy("SR", sr)
        raise
    for ref in made:
        try:
            pbds.plug(context, ref)
        except Failure as failure:  # as xapi: the SR exists, the PBD stays unplugged
            log.warning("could not plug PBD %s: %s", ref, failure)
    return sr


def check_type(context: Context, sr_type: str) -> None:
    if not context.db.where("SM", type=sr_type):
        raise Failure("SR_UNKNOWN_DRIVER", sr_type)


@SR.call(
    "SR ref", uuid="string", name_label="string", name_description="string", type="string", content_type="string",
    shared="bool", sm_config="(string -> string) map",
)  # fmt: skip
def introduce(
    context: Context,
    uuid: str,
    name_label: str,
    name_description: str,
    type: str,
    content_type: str,
    shared: bool,  # noqa: FBT001  XenAPI's order
    sm_config: dict[str, str],
) -> str:
    """The record alone."""
    check_type(context, type.lower())
    if context.db.where("SR", uuid=uuid):
        raise Failure("SR_UUID_EXISTS", uuid)
    return context.db.create(
        "SR",
        {
            "uuid": uuid or str(uuids.uuid4()),
            "name_label": name_label,
            "name_description": name_description,
            "type": type.lower(),
            "content_type": content_type,
            "shared": shared,
            "sm_config": sm_config,
            "physical_size": -1,
            "physical_utilisation": -1,
        },
    )


def _check_unplugged(context: Context, sr: str) -> None:
    if any(context.db.get("PBD", ref, "currently_attached") for ref in context.db.get("SR", sr, "PBDs")):
        raise Failure("SR_HAS_PBD", sr)


@SR.call(sr="SR ref")
def forget(context: Context, sr: str) -> None:
    """Lose the record; the storage stays as it is."""
    _check_unplugged(context, sr)
    with context.operation("SR", sr, "forget"):
        _forget_records(context, sr)


def _forget_records(context: Context, sr: str) -> None:
    for ref in context.db.get("SR", sr, "PBDs"):
        pbds.destroy_record(context, ref)
    for ref in context.db.get("SR", sr, "VDIs"):
        context.db.destroy("VDI", ref)
    pool = context.db.only("pool")
    if context.db.get("pool", pool, "default_SR") == sr:
        context.db.set("pool", pool, default_SR=NULL)
    context.db.destroy("SR", sr)


@SR.call(sr="SR ref")
def destroy(context: Context, sr: str) -> None:
    """Lose the storage, too. All PBDs must be unplugged; the driver then gets the SR attached once more."""
    row = context.db.row("SR", sr)
    _check_unplugged(context, sr)
    if not row["PBDs"]:
        raise Failure("SR_HAS_NO_PBDS", sr)
    if any(context.db.get("VDI", ref, "managed") for ref in row["VDIs"]):
        raise Failure("SR_NOT_EMPTY")
    wanted = sm.pool_master(context) if row["shared"] else context.db.get("PBD", row["PBDs"][0], "host")
    first = next((ref for ref in row["PBDs"] if context.db.get("PBD", ref, "host") == wanted), row["PBDs"][0])
    with context.operation("SR", sr, "destroy"):
        sm.ask_sr(context, "sr_attach", sr, first)
        with pbds.pretending_attached(context, first):
            sm.ask_sr(context, "sr_delete", sr, first)
        _forget_records(context, sr)


@SR.call(sr="SR ref")
def scan(context: Context, sr: str) -> None:
    context.db.row("SR", sr)
    sm.require_feature(context, sr, "SR_SCAN")
    first = sm.plugged_pbd(context, sr)
    with context.toolstack.storage_lock(sr):
        sm.take_scan(context, sr, sm.ask_sr(context, "sr_scan", sr, first))


@SR.call(sr="SR ref")
def update(context: Context, sr: str) -> None:
    context.db.row("SR", sr)
    sm.require_feature(context, sr, "SR_UPDATE")
    sm.take_figures(context, sr, sm.ask_sr(context, "sr_update", sr, sm.plugged_pbd(context, sr)))


@SR.call(
    "string", host="host ref", device_config="(string -> string) map", type="string",
    sm_config="(string -> string) map",
)  # fmt: skip
def probe(
    context: Context, host: str, device_config: dict[str, str], type: str, sm_config: dict[str, str] | None = None
) -> str:
    context.db.row("host", host)
    check_type(context, type.lower())
    if not sm.has_feature(context, type.lower(), "SR_PROBE"):
        raise Failure("SR_OPERATION_NOT_SUPPORTED", type)
    config = move_passwords(context, device_config)
    question = sm.Question("sr_probe", type.lower(), config, [], {"sr_sm_config": sm_config or {}})
    return str(sm.ask(context, question, host))


@SR.call("string set")
def get_supported_types(context: Context) -> list[str]:
    return sorted({row["type"] for row in context.db.rows("SM").values()})


@SR.call(sr="SR ref", value="bool")
def set_shared(context: Context, sr: str, value: bool) -> None:  # noqa: FBT001  XenAPI's order
    context.db.set("SR", sr, shared=value)


def _set_name(name: str) -> None:
    def set_(context: Context, sr: str, value: str) -> None:
        context.db.set("SR", sr, **{name: value})

    call = make_call(SR, f"set_{name}", "void", set_, ("sr", "SR ref"), ("value", "string"))
    SR.calls[f"set_{name}"] = call


_set_name("name_label")
_set_name("name_description")
