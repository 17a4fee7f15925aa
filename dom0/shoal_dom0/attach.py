"""Commands that give a host a disk and take it away.

The image is mapped in vdi_activate, not in vdi_attach: a live migration attaches on the target while the disk is still
active on the source, and a map is exclusive. What vdi_attach returns is a link that vdi_activate makes.
"""

import errno

from . import datapath, log, records
from .errors import VDIUnavailable

_HELD = (errno.EIO, errno.EROFS, errno.EBUSY)  # what kernels say when another client keeps the lock
_WATCH_TIMEOUT_S = 30


def vdi_attach(call):
    """Where the disk will be. Nothing is asked of Ceph, so it takes no time in a migration's pause."""
    return {
        "params": datapath.link_path(call.sr_uuid, call.vdi_uuid),
        "params_nbd": "",
        "o_direct": True,
        "o_direct_reason": "",
        "xenstore_data": {},
    }


def vdi_activate(call):
    writable = call.argument(0, "writable") == "true"
    holders = call.volumes.holders(call.vdi_uuid)
    found = _usable_map(call, holders, writable) or _map(call, holders, writable)
    datapath.make_link(datapath.link_path(call.sr_uuid, call.vdi_uuid), found.device)


def vdi_deactivate(call):
    """Unmap, if it is mapped. The link goes first: nobody can open the device by it any more."""
    datapath.remove_link(datapath.link_path(call.sr_uuid, call.vdi_uuid))
    for found in _maps(call):
        datapath.unmap(found, call.deadline)


def vdi_detach(call):
    """As vdi_deactivate, for a map that a killed call has left."""
    vdi_deactivate(call)


def _maps(call):
    return datapath.find(call.settings.pool, call.settings.namespace, call.image)


def _usable_map(call, holders, writable):
    """The map that is there, if it still serves; one that does not is removed.

    A map whose client does not own the image's lock is stale: Ceph has shut that client out, since another host took
    the disk over while this one was cut off.
    """
    owners = {lock["client"].replace("client.", "") for lock in holders["locks"]}
    usable = None
    for found in _maps(call):
        serves = found.read_only is not writable and (found.client in owners or not writable)
        if serves and usable is None:
            usable = found
            continue
        log.info("%s: map %s is stale: unmapped" % (call.image, found.device))
        datapath.unmap(found, call.deadline)
    return usable


def _map(call, holders, writable):
    if writable:
        _refuse_if_held(call, holders)
    secret = records.read_secret(call)
    try:
        return datapath.map_image(call.settings, secret, call.image, writable, call.deadline)
    except datapath.MapRefused as refusal:
        if writable and refusal.number in _HELD:
            _refuse_if_held(call, call.volumes.holders(call.vdi_uuid))
        reason = "this host's kernel cannot map %s: %s (see dmesg). Ceph's monitors are %s"
        raise VDIUnavailable(reason % (call.image, refusal, ", ".join(call.settings.monitors)))


def _refuse_if_held(call, holders):
    """Say who has the disk. A lock without a living owner is no obstacle: the kernel fences that owner and takes it."""
    living = sorted(lock["address"].split("/")[0].rsplit(":", 1)[0] for lock in holders["locks"] if lock["alive"])
    if living:
        reason = (
            "disk %s is in use for writing by the host at %s. Shut down or migrate the VM there; if that host has died,"
            " the disk is free %d s after its last sign of life"
        )
        raise VDIUnavailable(reason % (call.vdi_uuid, ", ".join(living), _WATCH_TIMEOUT_S))
