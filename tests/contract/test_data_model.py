"""Everything that the stand-in serves is in the published data model, with the same types and parameters."""

from __future__ import annotations

from typing import Any

import pytest

from lab.xapi.classes import CALLS
from lab.xapi.model import ENUMS, KINDS, Call

ACCESS = {"run": "RO/runtime", "new": "RO/constructor", "rw": "RW"}

# What real xapi serves and its published model hides; SM drivers use them. Nothing else may be hidden.
HIDDEN = {
    "SR.set_physical_utilisation", "SR.set_virtual_allocation",
    "VDI.db_introduce", "VDI.db_forget", "VDI.set_managed", "VDI.set_missing", "VDI.set_virtual_size",
    "VDI.set_physical_utilisation", "VDI.set_is_a_snapshot", "VDI.set_snapshot_of", "VDI.set_snapshot_time",
    "VDI.set_metadata_of_pool", "VDI.set_cbt_enabled",
}  # fmt: skip


# What xapi has since the published model was frozen (2024-03): parameters, result, where it says so.
NEWER = {
    # xen-api 26.16 and 26.1.16: ocaml/xapi/xapi_vdi.ml (`revert ~snapshot`), ocaml/idl/datamodel_lifecycle.ml
    "VDI.revert": ([("snapshot", "VDI ref")], "void"),
}


@pytest.mark.parametrize("name", KINDS)
def test_fields_are_the_models(name: str, data_model: dict[str, Any]) -> None:
    published = {field["name"]: field for field in data_model[name]["fields"]}
    for field in KINDS[name].fields.values():
        assert field.name in published
        assert (field.type, ACCESS[field.access]) == (
            published[field.name]["type"],
            published[field.name]["qualifier"],
        ), field.name
        if field.back is None:
            assert field.default == published[field.name].get("default"), field.name


@pytest.mark.parametrize("call", CALLS.values(), ids=lambda call: call.name)
def test_calls_are_the_models(call: Call, data_model: dict[str, Any]) -> None:
    kind, _, own = call.name.partition(".")
    published = {message["name"]: message for message in data_model[kind]["messages"]}
    if call.name in NEWER:
        assert own not in published, "published by now: not to be listed as newer"
        assert (list(call.parameters), call.result) == NEWER[call.name]
        return
    if call.hidden:
        assert own not in published, "published after all: not to be listed as hidden"
        assert call.name in HIDDEN or own == "get_all_records_where"
        return
    assert own in published
    parameters = [(parameter["name"], parameter["type"]) for parameter in published[own]["params"]]
    if call.session:
        assert parameters.pop(0) == ("session_id", "session ref")
    assert list(call.parameters) == parameters
    assert call.result == published[own]["result"][0]


@pytest.mark.parametrize("kind", ["PBD", "VBD", "VDI", "VIF", "VM", "secret"])
def test_everything_that_creation_needs_is_served(kind: str, data_model: dict[str, Any]) -> None:
    """So that `create` refuses a record that real xapi would refuse."""
    needed = {
        field["name"]
        for field in data_model[kind]["fields"]
        if field["qualifier"] in {"RW", "RO/constructor"} and "default" not in field
    }
    assert needed <= KINDS[kind].fields.keys()


def test_enumerations_are_the_models(data_model: dict[str, Any]) -> None:
    published = {
        enum["name"]: {value["name"] for value in enum["values"]}
        for cls in data_model.values()
        for enum in cls.get("enums", [])
    }
    assert {name: set(values) for name, values in ENUMS.items()} == {name: published[name] for name in ENUMS}


def test_the_classes_that_shoal_meets_are_served() -> None:
    wanted = {"session", "task", "event", "secret", "pool", "host", "host_metrics", "SR", "PBD", "VDI", "VBD", "VM"}
    assert wanted | {"VM_guest_metrics", "network", "PIF", "VIF", "SM", "message"} <= KINDS.keys()
