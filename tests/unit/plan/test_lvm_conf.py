"""Shoal's block in lvmlocal.conf: what LVM's own files said still holds, what the administrator wrote stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.facts import LvmConf
from shoal.plan.lvm_conf import merge, refusal

XCP_NG = """config { checks = 1 }
devices {
dir = "/dev"
scan = [ "/dev/disk/by-id" ]
filter = [ "r|/dev/xvd.|", "r|/dev/VG_Xen.*/*|"]
types = [ "scini", 16 ]
}
global { metadata_read_only = 1 }"""


def merged(main: str, local: str = "") -> str:
    return merge(LvmConf("/etc/lvm", main, local))


def setting(text: str, key: str) -> str | None:
    found = re.search(rf"^\t{key} = (.*)$", text, re.MULTILINE)
    return found.group(1) if found else None


def test_what_lvm_conf_lists_is_repeated() -> None:
    text = merged(XCP_NG)
    assert setting(text, "types") == '[ "scini", 16, "rbd", 1024 ]'
    assert setting(text, "scan") == '[ "/dev/disk/by-id", "/dev/rbd" ]'
    assert setting(text, "global_filter") == '[ "a|^/dev/rbd/[^/]+/lvm-[^/]+$|", "r|^/dev/rbd|" ]'
    assert setting(text, "obtain_device_list_from_udev") == "0"


def test_where_lvm_conf_says_nothing_lvm_goes_on_looking_through_all_of_dev() -> None:
    text = merged("devices { }")
    assert setting(text, "types") == '[ "rbd", 1024 ]'
    assert setting(text, "scan") is None


@pytest.mark.parametrize(
    ("main", "key", "wanted"),
    [
        ('scan = "/dev"', "scan", '[ "/dev" ]'),
        ('devices { types = [ "rbd", 1024 ] }', "types", '[ "rbd", 1024 ]'),
        ('devices/types=["fd",16]', "types", '[ "fd", 16, "rbd", 1024 ]'),
        ('types = [ "fd", 16 ]\ntypes = [\n"nbd",\n8 ]', "types", '[ "nbd", 8, "rbd", 1024 ]'),
        ('# types = [ "fd", 16 ]', "types", '[ "rbd", 1024 ]'),
        ('scan_lvs = 0\nmy_types = [ "x", 1 ]', "types", '[ "rbd", 1024 ]'),
        (
            'global_filter = [ "r|/dev/sd[b-c]|", "a|.*|" ]',
            "global_filter",
            '[ "a|^/dev/rbd/[^/]+/lvm-[^/]+$|", "r|^/dev/rbd|", "r|/dev/sd[b-c]|", "a|.*|" ]',
        ),
    ],
)
def test_ways_to_write_a_list(main: str, key: str, wanted: str) -> None:
    assert setting(merged(main), key) == wanted


TEXTS = st.lists(st.sampled_from(["", "# a comment", "local {", "\thost_id = 7", "}", "tags { hosttags = 1 }"])).map(
    "\n".join
)


@given(TEXTS, st.booleans())
def test_the_administrators_text_stays_and_a_second_merge_changes_nothing(mine: str, is_ended: bool) -> None:
    mine += "\n" * is_ended
    once = merged(XCP_NG, mine)
    assert once.startswith(mine)
    assert merged(XCP_NG, once) == once
    assert merged("devices { }", merged(XCP_NG, mine)) == merged("devices { }", mine)
    assert refusal(LvmConf("/etc/lvm", XCP_NG, once)) == ""


def test_text_after_the_block_stays() -> None:
    text = merged(XCP_NG, "# before\n") + "# after\n"
    assert merged(XCP_NG, text).startswith("# before\n# after\n# BEGIN Shoal")


@pytest.mark.parametrize(
    ("local", "why"),
    [
        ('devices {\n  global_filter = [ "a|.*|" ]\n}\n', "sets devices/global_filter itself"),
        ('devices/scan = "/dev/mapper"\n', "sets devices/scan itself"),
        ('# devices/scan = "/dev/mapper"\nlocal { }\n', ""),
        ("# END Shoal\n", "is cut"),
    ],
)
def test_settings_by_somebody_else_are_refused(local: str, why: str) -> None:
    said = refusal(LvmConf("/etc/lvm/master", XCP_NG, local))
    assert (why in said) if why else said == ""
    assert said == "" or "/etc/lvm/master/lvmlocal.conf" in said
