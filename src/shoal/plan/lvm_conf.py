"""LVM in each dom0 sees the images that SRs of type lvm lie on, and no disk of a VM.

Written to lvmlocal.conf, since the toolstack's own package rewrites lvm.conf. It wins over lvm.conf, and a list in it
replaces the one there: so Shoal's block repeats them.
"""

from __future__ import annotations

import re

from shoal.facts import Facts, Host, LvmConf
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict
from shoal.spec.model import Spec
from shoal.spec.names import LVM_FOLDERS

BEGIN = "# BEGIN Shoal: LVM sees the RBD images of the pool's SRs, and no disk of a VM. `shoal apply` keeps this block."
END = "# END Shoal"
_BLOCK = re.compile(r"^# BEGIN Shoal\b.*?^# END Shoal\n?", re.MULTILINE | re.DOTALL)
_TEXT = r'"(?:[^"\\]|\\.)*"'
_VALUE = re.compile(rf"\s*(?:\[(?P<items>(?:[^\]\"]|{_TEXT})*)\]|(?P<text>{_TEXT}))")
_KEYS = ("types", "scan", "global_filter", "obtain_device_list_from_udev")
# An image has a second name in that folder. VMs' disks are RBD devices, too, and a VM may make a volume group on one.
# They have no such name, and a udev rule of the kit sees to it that they get none by their contents.
_FILTER = ('"a|^/dev/rbd/[^/]+/lvm-[^/]+$|"', '"r|^/dev/rbd|"')


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    if not spec.lvm_srs:
        return ()
    actions = []
    for host in spec.hosts:
        change, reason = _judge(facts.host(host.name))
        needs = frozenset({f"dom0_kit/{host.name}"})
        settings = {"folders": LVM_FOLDERS}
        actions.append(Action("lvm_conf", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(host: Host | None) -> Verdict:
    if host is None or host.dom0 is None:
        return Change.UPDATE, "cannot be seen: dom0 does not answer"
    seen = {conf.folder: conf for conf in host.dom0.lvm}
    for folder in LVM_FOLDERS:
        conf = seen.get(folder, LvmConf(folder, "", ""))
        if _BLOCK.search(conf.local) is None:
            return Change.CREATE, f"{folder}/lvmlocal.conf does not let LVM see RBD images"
        if merge(conf) != conf.local:
            return Change.UPDATE, f"Shoal's block in {folder}/lvmlocal.conf is not as wanted"
    return Change.NONE, "LVM sees RBD images"


def refusal(conf: LvmConf) -> str:
    """Why Shoal's block cannot stand beside what the administrator wrote; "" when it can."""
    rest = _without_comments(without_block(conf.local))
    taken = [key for key in _KEYS if _assignment(key).search(rest)]
    if taken:
        return f"{conf.folder}/lvmlocal.conf sets devices/{taken[0]} itself, and Shoal's block must set it"
    if re.search(r"^# (BEGIN|END) Shoal\b", without_block(conf.local), re.MULTILINE):
        return f"Shoal's block in {conf.folder}/lvmlocal.conf is cut: its first or last line is missing"
    return ""


def merge(conf: LvmConf) -> str:
    """The whole of lvmlocal.conf with Shoal's block at its end; the rest is the administrator's and stays as it is."""
    rest = without_block(conf.local)
    separator = "" if not rest or rest.endswith("\n") else "\n"
    return f"{rest}{separator}{_block(conf.main)}"


def without_block(local: str) -> str:
    """lvmlocal.conf as it was before Shoal."""
    return _BLOCK.sub("", local)


def _block(main: str) -> str:
    types, scan, filters = (_items(main, key) for key in ("types", "scan", "global_filter"))
    if '"rbd"' not in types:
        types = (*types, '"rbd"', "1024")
    if scan and not {'"/dev"', '"/dev/rbd"'} & set(scan):
        scan = (*scan, '"/dev/rbd"')
    filters = (*_FILTER, *(item for item in filters if item not in _FILTER))
    lists = {"types": types, "scan": scan, "global_filter": filters}  # without `scan` LVM looks through all of /dev
    lines = [f"{key} = [ {', '.join(items)} ]" for key, items in lists.items() if items]
    lines.append("obtain_device_list_from_udev = 0")  # udev does not know the images' links
    return "\n".join([BEGIN, "devices {", *(f"\t{line}" for line in lines), "}", END, ""])


def _items(main: str, key: str) -> tuple[str, ...]:
    """A list's items as they are written, quotes included; a single text is a list of one."""
    text = _without_comments(main)
    places = [found.end() for found in _assignment(key).finditer(text)]
    value = _VALUE.match(text, places[-1]) if places else None  # the last one counts
    return tuple(re.findall(rf"{_TEXT}|\d+", value["items"] or value["text"] or "")) if value else ()


def _assignment(key: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w/])(?:devices\s*/\s*)?{key}\s*=")


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
