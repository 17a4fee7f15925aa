"""The toolstack's whitelist is added to, and never loses an entry."""

from __future__ import annotations

from shoal.steps.sm_plugins import merge, read_list, write_file

MAIN = "# xapi\nsm-plugins=ext nfs iscsi lvm udev\nuse-xenopsd = true\n"


def test_the_type_is_added_to_the_default_list() -> None:
    assert merge([MAIN], "rbd") == ("ext", "nfs", "iscsi", "lvm", "udev", "rbd")


def test_the_last_file_counts_and_keeps_its_entries() -> None:
    assert merge([MAIN, "sm-plugins = ext  linstor # ours\n"], "rbd") == ("ext", "linstor", "rbd")


def test_nothing_is_added_where_it_is_there_or_all_are_allowed() -> None:
    assert merge([MAIN, "sm-plugins=ext RBD\n"], "rbd") is None
    assert merge([MAIN, "sm-plugins=*\n"], "rbd") is None
    assert merge(["# nothing\n"], "rbd") is None


def test_what_is_written_is_read_back() -> None:
    assert read_list(write_file(("ext", "rbd"))) == ("ext", "rbd")
