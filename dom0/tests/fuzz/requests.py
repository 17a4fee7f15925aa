"""Requests as xapi makes them, to start from; and the texts that have broken programs before."""

from __future__ import annotations

from typing import Any

UUID = "0d9b7c5e-8f1f-4a52-9f0e-5a8f1c2d3e4f"
SNAPSHOT = f"10ab2f3c4d5e@{UUID}"
COMMANDS: dict[str, list[str]] = {
    "sr_get_driver_info": [],
    "sr_probe": [],
    "sr_create": ["0"],
    "sr_delete": [],
    "sr_attach": [],
    "sr_detach": [],
    "sr_scan": [],
    "sr_update": [],
    "vdi_create": ["1073741824", "name", "description", "OpaqueRef:NULL", "false", "19700101T00:00:00Z", "", "false"],
    "vdi_introduce": [],
    "vdi_update": [],
    "vdi_delete": [],
    "vdi_attach": ["true"],
    "vdi_detach": [],
    "vdi_activate": ["true"],
    "vdi_deactivate": [],
    "vdi_snapshot": [],
    "vdi_clone": [],
    "vdi_revert": ["OpaqueRef:target"],
    "vdi_resize": ["2147483648"],
    "vdi_compose": ["OpaqueRef:other"],
    "vdi_epoch_begin": [],
    "vdi_epoch_end": [],
    "vdi_generate_config": [],
    "vdi_enable_cbt": [],
    "vdi_disable_cbt": [],
    "vdi_data_destroy": [],
    "vdi_list_changed_blocks": ["OpaqueRef:other"],
}
NASTY = (
    "",
    " ",
    "a b",
    "'",
    '"',
    "`touch pwned`",
    "$(touch pwned)",
    "; touch pwned",
    "| touch pwned",
    "../../etc/passwd",
    "/",
    "//",
    "a/b",
    "a@b",
    "@",
    "%2e%2e",
    "%00",
    "\u2603",
    "\u202egnp.exe",
    "e\u0301",
    "\U0001f40b" * 9,
    "\ufeff",
    "\x7f",
    "a\nb",
    "a\tb",
    "-",
    "--help",
    "0",
    "-1",
    "9" * 400,
    "x" * 100_000,
    "None",
    "true",
    "{}",
    "<a>&b;]]>",
    "OpaqueRef:NULL",
    f"{UUID}\n",
    UUID.upper(),
    f"{SNAPSHOT}@{UUID}",
)


def request(command: str, *, snapshot: bool = False) -> dict[str, Any]:
    """What xapi would send."""
    made: dict[str, Any] = {
        "command": command,
        "args": list(COMMANDS.get(command, [])),
        "host_ref": "OpaqueRef:host",
        "session_ref": "OpaqueRef:session",
        "device_config": {
            "monitors": "10.77.0.21:6789,10.77.0.22:6789",
            "pool": "rbd",
            "user": "shoal-xen",
            "password_secret": UUID,
            "volumes": "10.77.0.21:7443,10.77.0.22:7443",
            "SRmaster": "true",
        },
        "sr_ref": "OpaqueRef:sr",
        "sr_uuid": UUID,
    }
    if command.startswith("vdi_"):
        made.update(vdi_ref="OpaqueRef:vdi", vdi_uuid=UUID, vdi_location=SNAPSHOT if snapshot else UUID)
        made.update(vdi_on_boot="persist", vdi_allow_caching="false", vdi_sm_config={}, vdi_type="user")
        made.update(driver_params={})
    if command == "vdi_introduce":
        made["new_uuid"] = UUID
    return made
