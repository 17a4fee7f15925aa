"""What a pool and its dom0s hold that Shoal could touch: noted before the first apply, compared after destroy."""

from __future__ import annotations

import json
from typing import Any

from lab.topology import Lab
from lab.witness_vm import Session
from tests.lab.lab_commands import lab_cli

# Where Shoal writes, and what others have there.
FOLDERS = (
    "/etc/xapi.conf.d /etc/xapi.d /etc/lvm /etc/modules-load.d /etc/udev/rules.d /etc/systemd/system /etc/shoal /opt"
    " /var/lib/shoal"
)
# What LVM, and the interpreter of the lab's own LVM driver, write at their work is no business of Shoal's.
OTHERS = "! -path '/etc/lvm/[abc]*' ! -path '/opt/xensource/sm/__pycache__/lvm_volumes.*'"
LOOK = f"""find {FOLDERS} -xdev ! -type d {OTHERS} -printf '%p %l\\n' 2>/dev/null | sort
find {FOLDERS} -xdev -type f {OTHERS} -exec sha256sum {{}} + 2>/dev/null | sort -k2
sgdisk --print /dev/sda | grep -E '^ +[0-9]+ '"""


def look(lab: Lab) -> dict[str, Any]:
    session = Session(lab, enter_namespace=True)
    (pool,) = session.call("pool.get_all")
    records = {kind: session.call(f"{kind}.get_all_records") for kind in ("SR", "VDI", "VM", "host")}
    local = {ref: sr for ref, sr in records["SR"].items() if not sr["shared"]}
    alerts = [message["name"] for message in session.call("message.get_all_records").values()]
    return {
        "pool": session.call("pool.get_other_config", pool),
        "default SR": session.call("pool.get_default_SR", pool),
        "SRs": sorted(f"{sr['name_label']} {sr['type']} {len(sr['PBDs'])}" for sr in records["SR"].values()),
        "local disks": sorted(vdi["name_label"] for vdi in records["VDI"].values() if vdi["SR"] in local),
        "secrets": len(session.call("secret.get_all")),
        "types": sorted(record["type"] for record in session.call("SM.get_all_records").values()),
        "marks": marks(records),
        "alerts": [name for name in alerts if name.startswith("SHOAL_")],
        **{host.name: dom0(host.name) for host in lab.hosts},
    }


def marks(records: dict[str, Any]) -> list[str]:
    return sorted(
        f"{kind} {record['name_label']} {key}"
        for kind, found in records.items()
        for record in found.values()
        for key in record["other_config"]
        if key.startswith("shoal:")
    )


def dom0(host: str) -> list[str]:
    return lab_cli("run", host, "--", "sh", "-c", LOOK, timeout_s=180, check=False).stdout.splitlines()


def note(lab: Lab) -> None:
    """Once for a lab, while nothing of Shoal is there."""
    file = lab.dir / "before-apply.json"
    if file.exists():
        return
    seen = look(lab)
    if not seen["marks"] and not any("shoal:ssh-key" in key for key in seen["pool"]):
        file.write_text(json.dumps(seen))


def noted(lab: Lab) -> dict[str, Any]:
    return dict(json.loads((lab.dir / "before-apply.json").read_text()))
