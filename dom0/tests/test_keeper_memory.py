"""The keeper's unit bounds its memory; a look at a large pool stays far below. Beyond, it would be ended in each look."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "dom0/units/shoal-keeper.service"
VMS, DISKS = 2000, 4000  # snapshots and templates count
VM_BYTES, DISK_BYTES = 9000, 1500  # of a record, as xapi writes it
LOOKS_AT_ONCE = 2  # the keeper's own and failover's


def limit_mib() -> int:
    """systemd of XenServer's dom0 knows the older name alone; newer ones take the newer, and may not know the older."""
    found = dict(re.findall(r"^(MemoryMax|MemoryLimit)=(\d+)M$", UNIT.read_text(), re.MULTILINE))
    assert set(found) == {"MemoryMax", "MemoryLimit"} and len(set(found.values())) == 1
    return int(found["MemoryMax"])


def test_a_look_at_a_large_pool_takes_less_than_its_share() -> None:
    done = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, check=True, timeout=120, text=True, cwd=ROOT)
    before, highest = map(int, done.stdout.split())
    print(f"{before} MiB before, {highest} MiB at most")
    assert 30 < highest - before, "it has not looked at anything large"
    assert before + LOOKS_AT_ONCE * (highest - before) < limit_mib()


def main() -> None:
    """A look, with nothing else in the process; the MiB before it and at most."""
    sys.path.insert(0, str(ROOT / "dom0"))
    from shoal_dom0 import plain_json
    from shoal_keeper import loop  # noqa: F401  # all that the keeper imports
    from shoal_keeper.failover_look import look
    from shoal_keeper.failover_presence import Presence
    from shoal_keeper.failover_roster import Place, Roster

    roster = Roster("host", "host", {"host": Place("xen1", "192.0.2.1", (), "vm")}, (("rbd", ""),), ())
    before = resident("VmRSS")
    look(lambda method, *_: plain_json.loads(answer(method)), Ceph(), roster, Presence(), {})
    print(before, resident("VmHWM"))


class Ceph:
    def owners(self, _: Any) -> tuple[list[Any], frozenset[Any]]:
        return [], frozenset()

    def fenced(self, _: Any) -> frozenset[str]:
        return frozenset()


def answer(method: str) -> str:
    """As text, whose bytes xapi's answer has beside it for a moment."""
    config = {"pool": "rbd", "volumes": "192.0.2.1:7443"}
    host = {"uuid": "host", "enabled": False, "other_config": {"shoal:kit": "1"}, "metrics": "m"}
    small: dict[str, dict[str, Any]] = {
        "pool": {"pool": {"other_config": {}, "ha_enabled": False, "master": "host"}},
        "host": {"host": host},
        "host_metrics": {"m": {"live": True}},
        "PBD": {"pbd": {"SR": "sr", "host": "host", "currently_attached": True, "device_config": config}},
        "SR": {"sr": {"type": "rbd"}},
    }
    kind = method.partition(".")[0]
    if kind in small:
        return json.dumps(small[kind])
    body = "{" + ",".join(f'"{kind}{n}":{json.dumps(record(kind, n))}' for n in range(VMS if kind == "VM" else DISKS)) + "}"
    assert len(body.encode()) > DISKS
    return body


def record(kind: str, number: int) -> dict[str, Any]:
    """Many short fields of its own, and a few long ones."""
    short = {f"field_{n}": f"OpaqueRef:{kind}-{number}-{n}" for n in range(60 if kind == "VM" else 20)}
    texts = {
        "VM": {
            "uuid": f"vm{number}", "power_state": "Running", "resident_on": "host", "order": "0", "memory_static_max": "1",
            "scheduled_to_be_resident_on": "OpaqueRef:NULL", "current_operations": {}, "other_config": {"a": f"b{number}"},
            "is_a_template": False, "is_a_snapshot": False, "is_control_domain": False, "name_label": f"vm{number}",
        },
        "VDI": {"location": f"vdi{number}", "current_operations": {}},
        "VBD": {
            "VDI": f"VDI{number}", "VM": f"VM{number % VMS}", "mode": "RW", "empty": False, "currently_attached": True,
            "current_operations": {},
        },
    }[kind]  # fmt: skip
    made = {**short, **texts}
    return {**made, "recommendations": "x" * ((VM_BYTES if kind == "VM" else DISK_BYTES) - len(json.dumps(made)))}


def resident(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    main()
