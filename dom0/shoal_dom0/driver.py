"""Which commands there are, what the driver says of itself, and where each command is done."""

from .call import Call
from .errors import NotImplementedHere
from .settings import KEYS

# What is declared, with the commands that it promises. A test holds this and `MODULES` and what is served together.
CAPABILITIES = {
    "SR_CREATE": ("sr_create",),
    "SR_DELETE": ("sr_delete",),
    "SR_ATTACH": ("sr_attach",),
    "SR_DETACH": ("sr_detach",),
    "SR_SCAN": ("sr_scan",),
    "SR_PROBE": ("sr_probe",),
    "SR_UPDATE": ("sr_update",),
    "THIN_PROVISIONING": (),  # a quality, not a call
    "VDI_CREATE": ("vdi_create",),
    "VDI_DELETE": ("vdi_delete",),
    "VDI_ATTACH": ("vdi_attach",),
    "VDI_DETACH": ("vdi_detach",),
    "VDI_ACTIVATE": ("vdi_activate",),
    "VDI_DEACTIVATE": ("vdi_deactivate",),
    "VDI_INTRODUCE": ("vdi_introduce",),
    "VDI_UPDATE": ("vdi_update",),
    "VDI_RESIZE": ("vdi_resize",),
    "VDI_RESIZE_ONLINE": ("vdi_resize",),  # xapi has no other command for it
    "VDI_SNAPSHOT": ("vdi_snapshot",),
    "VDI_CLONE": ("vdi_clone",),
    "VDI_REVERT": ("vdi_revert",),
    "VDI_RESET_ON_BOOT/2": ("vdi_epoch_begin", "vdi_epoch_end"),
    "VDI_CONFIG_CBT": ("vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy", "vdi_list_changed_blocks"),
}

MODULES = {
    "sr": ("sr_create", "sr_delete", "sr_attach", "sr_detach", "sr_probe", "sr_update"),
    "scan": ("sr_scan",),
    "vdi": ("vdi_create", "vdi_delete", "vdi_resize", "vdi_introduce", "vdi_update"),
    "snapshots": ("vdi_snapshot", "vdi_clone", "vdi_revert"),
    "epoch": ("vdi_epoch_begin", "vdi_epoch_end"),
    "changes": CAPABILITIES["VDI_CONFIG_CBT"],
    "attach": ("vdi_attach", "vdi_activate", "vdi_deactivate", "vdi_detach"),
}


def run(command, request):
    """What xapi gets as the answer to `command`."""
    if command == "sr_get_driver_info":
        return describe()
    return getattr(_module(command), command)(Call(command, request))


def describe():
    return {
        "name": "Ceph RBD",
        "description": "Thin disks in a Ceph pool, one RBD image each, mapped by the kernel",
        "vendor": "Shoal",
        "copyright": "Apache-2.0",
        "driver_version": "1.0",
        "required_api_version": "1.0",
        "capabilities": sorted(CAPABILITIES),
        "configuration": [{"key": key, "description": text} for key, text in KEYS],
    }


def _module(command):
    """The module of a command, and no other: what a call does not need is not imported."""
    for name, commands in MODULES.items():
        if command in commands:
            return getattr(__import__(__package__, fromlist=[name]), name)
    raise NotImplementedHere("the rbd driver has no %s" % command[:60])
