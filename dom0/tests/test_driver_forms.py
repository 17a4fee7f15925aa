"""What the driver does without regular expressions and `json`, held against them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dom0.shoal_dom0 import names, plain_json

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
FORMS = [
    (names.is_uuid, UUID),
    (names.uuid_of, rf"(?:[0-9A-Za-z]{{1,64}}@)?{UUID}"),
    (names.is_name, r"[A-Za-z0-9_.-]{1,128}"),
    (names.is_endpoint, r"(?:[0-9.]{7,15}|\[[0-9a-fA-F:]{2,45}\]):0*[1-9][0-9]{0,4}"),
]
uuids = st.uuids().map(str)
near = st.one_of(
    uuids,
    st.builds("{}@{}".format, st.text("aZ09@-", max_size=66), uuids),
    st.builds("{}:{}".format, st.text("0123456789.:[]aF", max_size=18), st.integers(0, 100_000)),
    st.from_regex("|".join(form for _, form in FORMS), fullmatch=True),
    st.text(),
)


def damaged(text: str, place: int, other: str) -> str:
    place %= len(text) + 1
    return text[:place] + other + text[place + len(other) :]


@given(near | st.builds(damaged, near, st.integers(0), st.sampled_from(["", "-", "\n", "é", "٣", "A", "@", " ", "00000"])))
@example("10.0.0.1:65536")
@example("[::1]:0")
@example("a" * 129)
def test_names_have_the_forms_that_they_had(text: str) -> None:
    for check, form in FORMS:
        wanted = re.fullmatch(form, text) is not None
        if check is names.is_endpoint:
            wanted = wanted and len(text.rpartition(":")[2]) <= 5 and int(text.rpartition(":")[2]) < 65536
        assert bool(check(text)) is wanted, (check.__name__, text)
    if names.uuid_of(text):
        assert names.uuid_of(text) == text[-36:]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(values)
def test_json_goes_out_and_comes_back(value: Any) -> None:
    assert plain_json.dumps(value) == json.dumps(value)
    assert plain_json.loads(f" \n{json.dumps(value, indent=1, ensure_ascii=False)}\t") == value


def refuse(constant: str) -> None:
    raise ValueError(constant)


@given(st.text() | values.map(json.dumps).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end] + "]"[:end])))
@example("")
@example("1 2")
@example("\ufeff1")
@example('"\t"')
def test_what_is_no_json_is_refused_as_before(text: str) -> None:
    try:
        wanted = json.loads(text, parse_constant=refuse)
    except ValueError:
        with pytest.raises(ValueError):
            plain_json.loads(text)
    else:
        assert plain_json.loads(text) == wanted


def test_objects_are_made_something_else_as_they_are_read() -> None:
    assert plain_json.loads('{"a": {"b": 1}, "c": [{"b": 2}]}', lambda members: members.get("b", members)) == {"a": 1, "c": [2]}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_only_python_takes_for_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        plain_json.loads(text)


def test_what_json_has_not_cannot_be_told() -> None:
    with pytest.raises(TypeError):
        plain_json.dumps({"a": b"bytes"})
