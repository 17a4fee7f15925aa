"""Changes of a spec's text that the verbs make: disks, hosts, Ceph's image. The rest stays, with comments.

Pure, and safe to repeat: an edit of what is so already changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from shoal.spec import comments

ADD_DISK, REPLACE_DISK, REMOVE_DISK = "add disk", "replace disk", "remove disk"
ADD_HOST, REMOVE_HOST = "add host", "remove host"
SET_IMAGE = "set Ceph's image"


@dataclass(frozen=True, slots=True)
class Edit:
    """`device` is the disk that is meant; `entry` holds the keys of what comes into the spec. `host` may be ""."""

    what: str
    host: str
    device: str = ""
    entry: Mapping[str, Any] = field(default_factory=dict)


def apply_edit(text: str, edit: Edit) -> str:
    """The text with this change made. The text is a spec that could be read."""
    return comments.change(text, _yaml(text), lambda tree: _edit(tree, edit))


def _edit(tree: Any, edit: Edit) -> bool:
    """Whether anything has changed."""
    if edit.what == SET_IMAGE:
        return _set_image(tree["ceph"], edit.entry)
    return _edit_hosts(tree, edit) if edit.what in (ADD_HOST, REMOVE_HOST) else _edit_disks(tree, edit)


def _set_image(ceph: Any, entry: Mapping[str, Any]) -> bool:
    """`version` goes with the image that it was written for."""
    before = dict(ceph)
    if "version" not in entry and ceph["image"] != entry["image"]:
        ceph.pop("version", None)
    ceph.update(entry)
    return dict(ceph) != before


def _yaml(text: str) -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    hosts = yaml.load(text)["hosts"]
    if hosts.lc.col > 0:  # the dashes stand indented
        yaml.indent(mapping=2, sequence=hosts.lc.col + 2, offset=hosts.lc.col)
    return yaml


def _edit_hosts(tree: Any, edit: Edit) -> bool:
    hosts = tree["hosts"]
    place = _place(hosts, "name", edit.host)
    if edit.what == ADD_HOST and place is None:
        hosts.append(_in_style(edit.entry, hosts))
        return True
    if edit.what == REMOVE_HOST and place is not None:
        del hosts[place]
        return True
    return False


def _edit_disks(tree: Any, edit: Edit) -> bool:
    at_host = _place(tree["hosts"], "name", edit.host)
    if at_host is None:
        return False
    disks = tree["hosts"][at_host]["disks"]
    place = _place(disks, "device", edit.device)
    if edit.what == ADD_DISK and place is None:
        _add_disk(disks, edit.entry)
        return True
    if edit.what == REPLACE_DISK and place is not None:
        return _replace_disk(disks[place], edit.entry)
    if edit.what == REMOVE_DISK and place is not None:
        _remove_disk(disks, place)
        return True
    return False


def _add_disk(disks: Any, entry: Mapping[str, Any]) -> None:
    used = _numbers(disks)
    number = next(number for number in range(1, len(used) + 2) if number not in used)
    more = {} if number == len(disks) + 1 else {"number": number}
    disks.append(_in_style({**entry, **more}, disks))


def _replace_disk(disk: Any, entry: Mapping[str, Any]) -> bool:
    """`wipe` is a permission for one disk; `size` goes with the use that it was written for."""
    before = dict(disk)
    disk.pop("wipe", None)
    if entry.get("use", disk["use"]) != disk["use"]:
        disk.pop("size", None)
    for key, value in entry.items():
        disk[key] = value
    return dict(disk) != before


def _remove_disk(disks: Any, place: int) -> None:
    """Those after it keep their numbers, which their partitions are named by."""
    numbers = _numbers(disks)
    for later in range(place + 1, len(disks)):
        disks[later]["number"] = numbers[later]
    del disks[place]


def _numbers(disks: Any) -> list[int]:
    return [disk.get("number") or place for place, disk in enumerate(disks, start=1)]


def _place(items: Any, key: str, value: str) -> int | None:
    return next((place for place, item in enumerate(items) if item[key] == value), None)


def _in_style(entry: Mapping[str, Any], beside: CommentedSeq) -> CommentedMap:
    """Written as the items beside it are: in braces, or a line for each key."""
    made = CommentedMap(entry)
    in_braces = bool(len(beside)) and beside[-1].fa.flow_style()
    for key, value in entry.items():
        if isinstance(value, Mapping):
            made[key] = CommentedMap(value)
            made[key].fa.set_flow_style()
        elif isinstance(value, list):
            made[key] = CommentedSeq([CommentedMap(item) for item in value])
            for item in made[key]:
                item.fa.set_flow_style()
    if in_braces:
        made.fa.set_flow_style()
    return made
