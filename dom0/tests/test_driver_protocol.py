"""What the driver makes of requests, good and bad. No Ceph: its volume service does not exist."""

from __future__ import annotations

import re
import uuid
import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dom0.shoal_dom0 import xmlrpc as codec
from dom0.shoal_dom0.call import Call
from dom0.shoal_dom0.errors import BadRequest
from dom0.tests.host import KEY, Host


def fault_of(host: Host, request: str) -> xmlrpc.client.Fault:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(host.run(request).stdout)
    return caught.value


def test_driver_info_needs_neither_session_nor_settings(lone_host: Host) -> None:
    request = {"host_ref": "OpaqueRef:host", "command": "sr_get_driver_info", "args": [], "device_config": {}}
    done = lone_host.run(xmlrpc.client.dumps((request,), "sr_get_driver_info"))
    info = xmlrpc.client.loads(done.stdout)[0][0]
    strings = {"name", "description", "vendor", "copyright", "driver_version", "required_api_version"}
    assert {key for key, value in info.items() if isinstance(value, str)} == strings
    assert info["required_api_version"].startswith("1.")
    assert {"key", "description"} == {key for entry in info["configuration"] for key in entry}


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "not xml",
        "<methodCall/>",
        "<methodCall><methodName>sr_attach</methodName><params/></methodCall>",
        "<methodCall><methodName>sr_attach</methodName><params><param><value>x</value></param></params></methodCall>",
        "<methodCall><methodName>sr_attach</methodName><params><param><value><struct><member><value>1</value></member>"
        "</struct></value></param></params></methodCall>",
        "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><methodCall><methodName>&a;</methodName></methodCall>",
        "<methodCall><methodName>sr_attach</methodName><params><param>" + "<value><array><data>" * 5000,
        xmlrpc.client.dumps(({"device_config": "text"},), "sr_attach"),
        xmlrpc.client.dumps(({"args": {}},), "sr_attach"),
    ],
)
def test_a_malformed_request_is_a_fault(lone_host: Host, request_text: str) -> None:
    assert fault_of(lone_host, request_text).faultCode == 143


def test_bytes_that_are_no_text_are_a_fault(lone_host: Host) -> None:
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(lone_host.run(b"<methodCall><methodName>\xff\xfe</methodName></methodCall>").stdout)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("pool", None, 115),
        ("monitors", None, 115),
        ("password_secret", None, 115),
        ("pool", "../../etc", 1),
        ("pool", "rbd secret=x", 1),
        ("user", "a,b", 1),
        ("monitors", "10.0.0.1", 1),
        ("monitors", "10.0.0.1:99999", 1),
        ("monitors", "10.0.0.1:6789 name=admin", 1),
        ("volumes", "host:7443,", 1),
        ("namespace", "a/b", 1),
        ("fsid", "x", 1),
        ("data_pool", "a b", 1),
        ("password_secret", KEY, 1),
    ],
)
def test_bad_settings_are_refused_by_name(lone_host: Host, key: str, value: str | None, code: int) -> None:
    if value is None:
        del lone_host.device_config[key]
    else:
        lone_host.device_config[key] = value
    with pytest.raises(xmlrpc.client.Fault, match=key) as caught:
        lone_host.call("sr_attach")
    assert caught.value.faultCode == code
    assert KEY not in caught.value.faultString


@pytest.mark.parametrize("command", ["sr_create", "sr_attach"])
@pytest.mark.parametrize(
    ("release", "namespace", "says"),
    [
        ("4.18.20", "xen", "this host has kernel 4.18.20, and an SR in a namespace needs Linux 4.19"),
        ("4.18.20", "", "127.0.0.1:1"),  # which cannot be reached: it went on, to ask the volume service
        ("4.19.0+1", "xen", "127.0.0.1:1"),
    ],
)
def test_a_namespace_needs_a_kernel_that_knows_them(
    lone_host: Host, release: str, namespace: str, says: str, command: str
) -> None:
    """Said before anything is changed: a volume service is not even asked."""
    (lone_host.folder / "osrelease").write_text(release + "\n")
    lone_host.device_config["namespace"] = namespace
    with pytest.raises(xmlrpc.client.Fault, match=re.escape(says)) as caught:
        lone_host.call(command, args=("0",))
    assert caught.value.faultCode == 47


UUID = "1b2f6a0e-7d0c-4a52-9c43-0f6a1f0e7b11"


@pytest.mark.parametrize(
    "location",
    ["", "../../x", "A" * 36, "x" * 100_000, "1234; reboot", "a\tb", "\u2603", "@" + UUID, UUID + "@", "1a@", "1a@1a"]
    + [f"../1a@{UUID}", f"1a@{UUID}\n", f"1a@{UUID}@{UUID}", f"{UUID}@{UUID}", f"1a?x=@{UUID}", f"\u0661@{UUID}"],
)
@pytest.mark.parametrize("command", ["vdi_activate", "vdi_delete", "vdi_clone", "vdi_update"])
def test_a_strange_location_is_refused(lone_host: Host, location: str, command: str) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        lone_host.call(command, str(uuid.uuid4()), args=("true",), vdi_location=location)
    assert caught.value.faultCode in (143, 202)  # 202: xapi has no such record, which some commands ask first


pieces = st.sampled_from(["@", "-", "/", "..", "?", "%40", "\0", "\n", " ", "1a2b", UUID, UUID.upper(), "\u2603"])


@settings(max_examples=1000)
@given(st.lists(pieces | st.text(max_size=3), max_size=6).map("".join))
def test_a_location_is_well_formed_or_refused(location: str) -> None:
    call = Call("vdi_delete", {"vdi_location": location})
    try:
        taken = call.location, call.vdi_uuid, call.is_snapshot
    except BadRequest:
        return
    image, mark, end = location.rpartition("@")
    assert taken == (location, end, bool(mark))
    assert str(uuid.UUID(end)) == end
    assert not mark or (image.isascii() and image.isalnum())


@pytest.mark.parametrize("command", ["vdi_resize", "vdi_enable_cbt", "vdi_disable_cbt"])
def test_a_snapshot_is_no_disk(lone_host: Host, command: str) -> None:
    with pytest.raises(xmlrpc.client.Fault, match="is a snapshot") as caught:
        lone_host.call(command, UUID, args=("1048576",), vdi_location=f"1a2b@{UUID}")
    assert caught.value.faultCode == 66


@pytest.mark.parametrize("command", ["vdi_revert", "vdi_data_destroy"])
def test_a_disk_is_no_snapshot(lone_host: Host, command: str) -> None:
    with pytest.raises(xmlrpc.client.Fault, match="is no snapshot") as caught:
        lone_host.call(command, UUID, args=("OpaqueRef:other",))
    assert caught.value.faultCode == 66


def test_a_snapshot_of_a_snapshot_is_refused(lone_host: Host) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        lone_host.call("vdi_snapshot", UUID, vdi_location=f"1a2b@{UUID}")
    assert caught.value.faultCode == 82


@pytest.mark.parametrize("size", ["", "-1", "1e9", "0x10", "9" * 30, "\u0663", "0", str(1 << 60)])
def test_a_strange_size_is_refused(lone_host: Host, size: str) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        lone_host.create(size)  # type: ignore[arg-type]
    assert caught.value.faultCode in (79, 143)


@pytest.mark.parametrize(("command", "code"), [("sr_attach", 47), ("sr_scan", 47), ("vdi_activate", 46)])
def test_no_service_is_said_with_what_was_tried(lone_host: Host, command: str, code: int) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        lone_host.call(command, str(uuid.uuid4()), args=("true",))
    assert caught.value.faultCode == code
    assert "127.0.0.1:1 (Connection refused)" in caught.value.faultString
    assert "127.0.0.1:6789, 127.0.0.2:6789" in caught.value.faultString


def test_a_toolstack_that_is_away_is_a_fault(lone_host: Host) -> None:
    (lone_host.folder / "xapi").unlink()
    with pytest.raises(xmlrpc.client.Fault, match="xapi did not answer VDI.get_record") as caught:
        lone_host.call("vdi_update", str(uuid.uuid4()))
    assert caught.value.faultCode == 202


values = st.recursive(
    st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.booleans() | st.integers(-(2**31), 2**31 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_the_reader_agrees_with_the_standard_library(value: Any) -> None:
    assert codec.read_call(xmlrpc.client.dumps((value,), "method")) == ("method", [value])


@given(values)
def test_the_standard_library_reads_what_is_written(value: Any) -> None:
    assert xmlrpc.client.loads(codec.write_answer(value))[0][0] == value


@given(st.text())
def test_any_text_in_a_fault_is_well_formed(text: str) -> None:
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(codec.write_fault(46, text).encode("utf-8", "replace"))


@settings(max_examples=500)
@given(st.text(st.sampled_from("<>/valuestrcmbn&;! ?x\n"), max_size=200) | st.text(max_size=80))
def test_the_reader_never_fails_but_by_bad_request(text: str) -> None:
    for request in (text, f"<methodCall><methodName>x</methodName><params>{text}</params></methodCall>"):
        try:
            codec.read_call(request)
        except BadRequest:
            pass
