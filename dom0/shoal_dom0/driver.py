"""Which commands there are, what the driver says of itself, and where each command is done."""

from .call import Call
from .errors import NotImplementedHere
from .settings import KEYS

# Declared is exactly what works: a test holds the two together.
CAPABILITIES = {
    "sr_create": "SR_CREATE",
    "sr_delete": "SR_DELETE",
    "sr_attach": "SR_ATTACH",
    "sr_detach": "SR_DETACH",
    "sr_scan": "SR_SCAN",
    "sr_probe": "SR_PROBE",
    "sr_update": "SR_UPDATE",
    "vdi_create": "VDI_CREATE",
    "vdi_delete": "VDI_DELETE",
    "vdi_attach": "VDI_ATTACH",
    "vdi_detach": "VDI_DETACH",
    "vdi_activate": "VDI_ACTIVATE",
    "vdi_deactivate": "VDI_DEACTIVATE",
    "vdi_resize": "VDI_RESIZE",
    "vdi_introduce": "VDI_INTRODUCE",
    "vdi_update": "VDI_UPDATE",
}
NO_COMMAND = ["THIN_PROVISIONING"]  # a quality, not a call


def run(command, request):
    """What xapi gets as the answer to `command`."""
    if command == "sr_get_driver_info":
        return describe()
    if command not in CAPABILITIES:
        raise NotImplementedHere("the rbd driver has no %s" % command[:60])
    call = Call(command, request)
    if command in ("vdi_attach", "vdi_activate", "vdi_deactivate", "vdi_detach"):
        from . import attach as commands
    elif command.startswith("vdi_"):
        from . import vdi as commands
    else:
        from . import sr as commands
    return getattr(commands, command)(call)


def describe():
    return {
        "name": "Ceph RBD",
        "description": "Thin disks in a Ceph pool, one RBD image each, mapped by the kernel",
        "vendor": "Shoal",
        "copyright": "Apache-2.0",
        "driver_version": "1.0",
        "required_api_version": "1.0",
        "capabilities": sorted(CAPABILITIES.values()) + NO_COMMAND,
        "configuration": [{"key": key, "description": text} for key, text in KEYS],
    }
