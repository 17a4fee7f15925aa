"""The container keys as text: the form that XenServer's own monitor gives them, and that nothing else gets through."""

from __future__ import annotations

import json
import sys
import xml.dom.minidom
import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shoal_dom0.xapi import XenAPIError
from shoal_keeper import container_calls, containers
from shoal_keeper.containers import DEPTH_MAX, KEY_MAX_BYTES, Silent, read, write, write_xml
from volumes import containers as service

ENTRY = {
    "id": "0123456789abcdef",
    "names": "ceph-x-osd-0",
    "image": "quay.io/ceph/ceph:v18",
    "command": "/usr/bin/ceph-osd -n osd.0 & <more>",
    "created": 1700000000,
    "status": "Up",
    "ports": [],
    "container": "0123456789",
}
ANSWER = {
    "docker_ps": [ENTRY],
    "docker_info": {"Driver": "overlay2", "NCPU": 2, "IPv4Forwarding": True, "Swap": None},
    "docker_version": {"Version": "26.1.5"},
}
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


class Pool:
    """One VM's other_config behind the calls that change it, and what was called."""

    def __init__(self, **config: str) -> None:
        self.config = config
        self.calls: list[tuple[str, ...]] = []

    def call(self, method: str, vm: str, *arguments: str) -> Any:
        self.calls.append((method, *arguments))
        if method == "VM.get_other_config":
            return dict(self.config)
        if method == "VM.remove_from_other_config":
            return self.config.pop(arguments[0], None)
        assert method == "VM.add_to_other_config"
        if arguments[0] in self.config:
            raise XenAPIError(method, ["MAP_DUPLICATE_KEY"])
        self.config[arguments[0]] = arguments[1]
        return None

    def changes(self) -> list[tuple[str, ...]]:
        return [call for call in self.calls if call[0] != "VM.get_other_config"]


def test_the_form_is_that_of_xenservers_own_monitor() -> None:
    keys = read(ANSWER)
    assert keys["docker_ps"] == (
        '<?xml version="1.0" ?><docker_ps><item><entry><id>0123456789abcdef</id><names>ceph-x-osd-0</names>'
        "<image>quay.io/ceph/ceph:v18</image><command>/usr/bin/ceph-osd -n osd.0 &amp; &lt;more&gt;</command>"
        "<created>1700000000</created><status>Up</status><ports/><container>0123456789</container></entry></item>"
        "</docker_ps>"
    )
    assert keys["docker_info"] == (
        '<?xml version="1.0" ?><docker_info><Driver>overlay2</Driver><NCPU>2</NCPU>'
        "<IPv4Forwarding>True</IPv4Forwarding><Swap>None</Swap></docker_info>"
    )
    assert keys["docker_version"] == '<?xml version="1.0" ?><docker_version><Version>26.1.5</Version></docker_version>'
    assert keys["xscontainer-monitor"] == "True"
    assert len(keys) == 4


def test_names_that_no_element_may_have_become_an_attribute() -> None:
    for name in ("/var/lib", "80/tcp", "xmlns", "", "a b", 'a"b', "a<b"):
        text = write_xml("docker_info", {name: 1})
        (element,) = xml.dom.minidom.parseString(text).documentElement.childNodes
        assert (element.tagName, element.getAttribute("name")) == ("SPECIAL_XS_ENCODED_ELEMENT", name)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_whatever_the_service_says_is_xml_or_refused(value: Any) -> None:
    value = json.loads(json.dumps(value))
    try:
        text = write_xml("docker_info", value)
    except ValueError:
        return
    xml.dom.minidom.parseString(text.encode("utf-8"))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["docker_ps", "docker_info", "docker_version", "x"]), trees))
def test_an_answer_is_read_whole_or_not_at_all(answer: Any) -> None:
    try:
        keys = read(json.loads(json.dumps(answer)))
    except Silent:
        return
    assert sorted(keys) == ["docker_info", "docker_ps", "docker_version", "xscontainer-monitor"]


def test_what_is_too_deep_or_too_long_is_refused() -> None:
    deep: Any = 1
    for _ in range(DEPTH_MAX + 1):
        deep = [deep]
    for info in ({"a": deep}, {"a": "x" * KEY_MAX_BYTES}):
        with pytest.raises(Silent):
            read({**ANSWER, "docker_info": info})


def test_only_what_differs_is_written() -> None:
    wanted = read(ANSWER)
    pool = Pool(**{"shoal:host": "xen1", "docker_ps": "old"})
    assert sorted(write(pool.call, "vm", wanted)) == sorted(wanted)
    assert pool.config == {"shoal:host": "xen1", **wanted}
    del pool.calls[:]
    assert write(pool.call, "vm", wanted) == []
    assert pool.changes() == []
    changed = {**wanted, "docker_ps": "new"}
    assert write(pool.call, "vm", changed) == ["docker_ps"]
    assert pool.changes() == [("VM.remove_from_other_config", "docker_ps"), ("VM.add_to_other_config", "docker_ps", "new")]


def test_keys_can_be_taken_away_again() -> None:
    pool = Pool(**{"shoal:host": "xen1", **read(ANSWER)})
    assert sorted(write(pool.call, "vm", {})) == ["docker_info", "docker_ps", "docker_version"]
    assert pool.config == {"shoal:host": "xen1", "xscontainer-monitor": "True"}
    assert write(pool.call, "vm", {}) == []


def test_dom0_and_the_service_mean_the_same_port() -> None:
    assert containers.PORT == service.PORT


def plugin_says(*argv: str) -> list[str]:
    """The failure that the plugin answers, in the form that xapi takes from a plugin."""
    ((answer,), _) = xmlrpc.client.loads(container_calls._answer(["xscontainer", *argv]))
    assert answer["Status"] == "Failure"
    return list(answer["ErrorDescription"])


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_the_plugin_answers_whatever_it_is_called_with(text: str) -> None:
    assert plugin_says(text)[:2] == ["XENAPI_PLUGIN_FAILURE", "?"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["vmuuid", "container", "x"]), st.integers(0, 9) | st.just("a") | st.just("")))
def test_the_plugin_asks_nobody_before_its_arguments_are_good(arguments: dict[str, Any]) -> None:
    call = xmlrpc.client.dumps(("OpaqueRef:secret", arguments), "restart")
    failure = plugin_says(call)
    assert failure[:3] == ["XENAPI_PLUGIN_FAILURE", "restart", "Unwilling"]
    assert "secret" not in failure[3]
