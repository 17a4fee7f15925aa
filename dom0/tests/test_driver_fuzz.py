"""Requests and answers that nobody sane would send: always one well-formed answer and exit code 0, never a program run.

`make fuzz` goes on from here, guided by what of the driver's code it has reached.
"""

from __future__ import annotations

import itertools
import uuid
import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dom0.tests.fuzz.enclosure import Enclosure, Escaped, http, http_json, is_bug
from dom0.tests.fuzz.requests import COMMANDS, NASTY, request
from dom0.tests.host import Host

ENCLOSURE = Enclosure()
texts = st.sampled_from(NASTY) | st.text(max_size=40)
leaves = texts | st.booleans() | st.none() | st.integers(-(2**31), 2**31 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
PLACES = [
    *((key,) for key in (*request("vdi_create"), "new_uuid")),
    *(("device_config", key) for key in (*request("sr_attach")["device_config"], "namespace", "fsid", "data_pool")),
    *(("args", number) for number in range(8)),
]
changes = st.dictionaries(st.sampled_from(PLACES), st.just(...) | values, max_size=4)


def changed(command: str, places: dict[tuple[Any, ...], Any], *, snapshot: bool = False) -> str:
    """The command's request with something else in some places; an ellipsis leaves the key out."""
    made = request(command, snapshot=snapshot)
    for place, value in places.items():
        inside = made if len(place) == 1 else made.get(place[0])
        key = place[-1]
        if isinstance(inside, list) and isinstance(key, int) and key < len(inside):
            inside[key] = "" if value is ... else value
        elif isinstance(inside, dict) and isinstance(key, str) and value is ...:
            inside.pop(key, None)
        elif isinstance(inside, dict) and isinstance(key, str):
            inside[key] = value
    return xmlrpc.client.dumps((made,), command, allow_none=True)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(COMMANDS)), changes, st.booleans())
def test_any_change_of_a_request_is_answered(command: str, places: dict[tuple[Any, ...], Any], snapshot: bool) -> None:
    answer = ENCLOSURE.check(changed(command, places, snapshot=snapshot))
    assert not is_bug(answer), answer


@settings(max_examples=300, deadline=None)
@given(texts, values)
def test_any_command_with_anything_is_answered(command: str, value: Any) -> None:
    answer = ENCLOSURE.check(xmlrpc.client.dumps((value,), command, allow_none=True))
    assert isinstance(answer, xmlrpc.client.Fault)
    assert not is_bug(answer), answer


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(COMMANDS)), st.data())
def test_a_damaged_request_is_answered(command: str, data: st.DataObject) -> None:
    text = changed(command, {})
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    inserted = data.draw(texts | st.sampled_from(["<value>", "</struct>", "<array>" * 60, "&#0;", "<![CDATA[", "<?x?>"]))
    answer = ENCLOSURE.check(text[:start] + inserted + text[end:])
    assert not is_bug(answer), answer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
KEYS = ("volumes", "snapshots", "broken", "locks", "watchers", "result", "error", "id", "size_bytes", "metadata", "owner")
shaped = st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4)
ERRORS = ("not_found", "exists", "in_use", "no_space", "too_deep", "too_long", "owned", "bug", "ceph_away", "x")
refusals = st.builds(lambda code, text: {"error": {"code": code, "message": text}}, st.sampled_from(ERRORS), texts)
answers = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(http),
    st.builds(http_json, shaped | json_values, st.sampled_from([200, 200, 404, 500])),
    st.builds(http_json, refusals, st.sampled_from([400, 404, 409, 503, 507])),
)
codes = st.lists(st.sampled_from([0, 5, 16, 22, 28, 30, None]), max_size=4)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(list(COMMANDS)), st.lists(answers, max_size=6), codes, st.booleans())
def test_any_answers_of_services_toolstack_and_kernel_are_survived(
    command: str, said: list[bytes], numbers: list[int], snapshot: bool
) -> None:
    """They are trusted, so that nonsense from them may be a bug's fault; but a fault it is."""
    ENCLOSURE.check(changed(command, {}, snapshot=snapshot), iter(said), iter(numbers))


def test_the_enclosure_notices_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from dom0.shoal_dom0 import driver

    monkeypatch.setattr(driver, "describe", lambda: __import__("os").system("true"))
    with pytest.raises(Escaped):
        ENCLOSURE.check(changed("sr_get_driver_info", {}))


def test_a_real_process_answers_and_runs_nothing(lone_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lone_host.folder)
    before = set(lone_host.folder.iterdir())
    keys = itertools.cycle([("sr_uuid",), ("vdi_location",), ("device_config", "pool"), ("args", 0), ("vdi_uuid",)])
    for nasty, place in zip([text for text in NASTY if "\0" not in text], keys, strict=False):
        text = changed("vdi_create", {place: nasty, ("device_config", "volumes"): "127.0.0.1:1"})
        with pytest.raises(xmlrpc.client.Fault):
            xmlrpc.client.loads(lone_host.run(text).stdout)
    for raw in (b"\xff\xfe<methodCall>", "<methodCall>\ud800".encode("utf-8", "surrogatepass"), b"\x1b[2J", b"-c"):
        with pytest.raises(xmlrpc.client.Fault):
            xmlrpc.client.loads(lone_host.run(raw).stdout)
    made = {path.name for path in set(lone_host.folder.iterdir()) - before} - {"peak_kib"}  # the launcher's own
    assert all(name.startswith("shoal-sr-") for name in made), made


@pytest.mark.ceph
def test_any_name_of_a_disk_comes_back_as_it_was(host: Host) -> None:
    kept: dict[str, str] = {}
    for text in NASTY:
        if text.isprintable() or text.isspace():
            kept[host.create(1 << 20, text, vdi_uuid=str(uuid.uuid4()))] = text[:2000]
    host.toolstack.vdis.clear()
    host.call("sr_scan")
    assert {record["uuid"]: record["name_label"] for record in host.toolstack.vdis.values()} == kept
