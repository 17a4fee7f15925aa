"""Commands that give a host a disk or a snapshot and take it away.

The image is mapped in vdi_activate, not in vdi_attach: a live migration attaches on the target while the disk is still
active on the source, and a map is exclusive. What vdi_attach returns are links that vdi_activate makes.
"""

import errno

from . import datapath, log, tapctl
from .errors import BadRequest, SRError, SRInUse, VDIInUse, VDIUnavailable

_RENAMES_MAX = 3  # an image gets another name when its disk is deleted or reverted, at most once in a moment
_HELD = (errno.EIO, errno.EROFS, errno.EBUSY)  # what kernels say when another client keeps the lock


def vdi_attach(call):
    """Where the disk will be. Nothing is asked of Ceph, so it takes no time in a migration's pause."""
    _writable(call)
    path = datapath.link_path(call.sr_uuid, call.vdi_uuid)
    answer = {"params_nbd": "", "o_direct": True, "o_direct_reason": "", "xenstore_data": {}}
    if not _wants_tapdisk(call):
        return dict(answer, params=path)
    tapdisk = _tapdisk()
    answer["params_nbd"] = "nbd:unix:%s:exportname=%s" % (tapdisk.nbd_link(_name(call)), call.vdi_uuid)
    if tapdisk.has_devices():
        answer["params"] = path  # with it, xapi looks at params_nbd no more
    return answer


def vdi_activate(call):
    writable, through_tapdisk = _writable(call), _wants_tapdisk(call)
    found = _activate_snapshot(call) if call.is_snapshot else _activate_volume(call, writable)
    device = found.device
    if through_tapdisk:
        device = _tapdisk().start(_name(call), device, writable, call.deadline).device or device
    elif tapctl.available():
        _tapdisk().stop(_name(call), [device], call.deadline)  # the VBD has been told to do without since
    datapath.make_link(datapath.link_path(call.sr_uuid, call.vdi_uuid), device)


def vdi_deactivate(call):
    _release(call, call.vdi_uuid, _maps(call))


def vdi_detach(call):
    """As vdi_deactivate, for what a killed call has left."""
    vdi_deactivate(call)


def refresh(call):
    """After a resize: this host's tapdisk, if the disk has one here, opens the device anew. The kernel knows."""
    for found in _maps(call):
        _tapdisk().refresh(_name(call), found.device, call.deadline)


def release_all(call):
    """Take away what xapi has forgotten to; a disk that is still open is an error."""
    settings = call.settings
    for uuid in sorted(set(datapath.linked(call.sr_uuid)) | datapath.mapped(settings)):
        maps = datapath.find(settings.pool, settings.namespace, "vdi-" + uuid)
        maps += datapath.find(settings.pool, settings.namespace, None, "snap-" + uuid)
        try:
            _release(call, uuid, maps)
        except VDIInUse as error:
            raise SRInUse("disk %s: %s" % (uuid, error.reason))


def _release(call, uuid, maps):
    """The link goes first: the device behind it becomes another disk's some day."""
    datapath.remove_link(datapath.link_path(call.sr_uuid, uuid))
    if tapctl.available():
        _tapdisk().stop("%s/%s" % (call.sr_uuid, uuid), [found.device for found in maps], call.deadline)
    for found in maps:
        datapath.unmap(found, call.deadline)


def _writable(call):
    writable = call.argument(0, "writable") == "true"
    if writable and call.is_snapshot:
        raise VDIUnavailable("snapshot %s can only be read: clone it to write" % call.vdi_uuid)
    return writable


def _name(call):
    """What tapdisk and its links know the disk by."""
    return "%s/%s" % (call.sr_uuid, call.vdi_uuid)


def _tapdisk():
    """The module, where it is needed: its import takes a while."""
    from . import tapdisk

    return tapdisk


def _wants_tapdisk(call):
    """Wherever there is tapdisk it stands in front, since xapi's VBDs are for it; but one VBD can ask for blkback."""
    if not tapctl.available():
        return False
    ref = call.text("vdi_ref")
    if '"' in ref:
        raise BadRequest("%s: vdi_ref is not a reference" % call.command)
    vbds = call.xapi.call("VBD.get_all_records_where", 'field "VDI" = "%s"' % ref)
    return not any(vbd["other_config"].get("backend-kind") == "vbd" for vbd in vbds.values())


def _maps(call):
    settings = call.settings
    if not call.is_snapshot:
        return datapath.find(settings.pool, settings.namespace, "vdi-" + call.vdi_uuid)
    image_id = call.location.partition("@")[0]
    return datapath.find(settings.pool, settings.namespace, None, "snap-" + call.vdi_uuid, image_id)


def _activate_volume(call, writable):
    from . import fencing

    holders = call.volumes.holders(call.location)
    if holders.get("half_reset"):
        raise VDIUnavailable(
            "disk %s is half-way back to its reset point: a reset was cut short. The next start of its VM takes it there,"
            " whatever its on_boot is by then" % call.vdi_uuid
        )
    owners = fencing.owners(holders)
    image_id = holders.get("image_id")

    def fits(found):
        """A map whose client does not own the lock is stale: another host took the disk while this one was cut off."""
        right = found.read_only is not writable and (not writable or found.client in owners)
        return right and not (image_id and found.image_id and found.image_id != image_id)

    found = _usable_map(call, fits)
    if found:
        return found
    if writable:
        fencing.wait_until_free(call, holders)
    try:
        return _map_checked(call, writable, holders)
    except datapath.MapRefused as refusal:
        if writable and refusal.number in _HELD:
            fencing.wait_until_free(call, call.volumes.holders(call.location))
        raise _no_map(call, refusal)


def _map_checked(call, writable, holders):
    """The kernel finds an image by its name, and where that leads is not always put right at once."""
    image_id, quorum = holders.get("image_id"), holders.get("quorum")
    found = _map(call, "vdi-" + call.vdi_uuid, writable, in_quorum=quorum if isinstance(quorum, list) else ())
    if image_id and found.image_id and found.image_id != image_id:
        datapath.unmap(found, call.deadline)
        reason = "the kernel has found image %s under the name of disk %s, and not %s; nothing was written to it"
        raise VDIUnavailable(reason % (found.image_id, call.vdi_uuid, image_id))
    return found


def _activate_snapshot(call):
    """Any number of hosts may read a snapshot, also while its disk is written to."""
    snapshot = _stat_snapshot(call)
    found = _usable_map(call, lambda found: found.read_only)
    if found:
        return found
    for _ in range(_RENAMES_MAX):
        image = snapshot["image"]
        try:
            return _map(call, image, False, snapshot["snap"])
        except datapath.MapRefused as refusal:
            if refusal.number == errno.ENOENT:
                snapshot = _stat_snapshot(call)
            if snapshot["image"] == image:
                raise _no_map(call, refusal)
    raise VDIUnavailable("snapshot %s: its image is renamed all the time" % call.location)


def _stat_snapshot(call):
    snapshot = call.volumes.stat(call.location)
    if snapshot.get("snap") != "snap-" + call.vdi_uuid or not isinstance(snapshot.get("image"), str):
        raise SRError("the volume service's answer on snapshot %s is not understood" % call.location)
    if snapshot.get("metadata", {}).get("data_destroyed") == "true":
        raise VDIUnavailable("the data of snapshot %s has been destroyed" % call.vdi_uuid)
    return snapshot


def _usable_map(call, fits):
    """The map that is there, if it still serves; one that does not is removed, and its tapdisk before it."""
    usable = None
    for found in _maps(call):
        if usable is None and fits(found) and datapath.reads(found, call.deadline):
            usable = found
            continue
        log.info("%s: map %s is stale: unmapped" % (call.location, found.device))
        if tapctl.available():
            _tapdisk().stop(_name(call), [found.device], call.deadline)
        datapath.unmap(found, call.deadline)
    return usable


def _map(call, image, writable, snap=datapath.NO_SNAP, in_quorum=()):
    from . import monitors, records  # what unplugging can do without is not imported for it
    from .settings import own_address

    settings, secret = call.settings, records.read_secret(call)
    asked = monitors.choose(settings.monitors, own_address(), in_quorum)
    try:
        return datapath.map_image(settings.asking(asked), secret, image, writable, call.deadline, snap)
    except datapath.MapRefused as refusal:
        # It takes part no more, a moment later. The kernel would have gone on to another one, had it known one.
        is_late = refusal.number == errno.ETIMEDOUT and call.deadline.remaining() >= datapath.MAP_TAKES_S
        others = monitors.found_listening([each for each in settings.monitors if each not in asked]) if is_late else []
        if not others:
            raise
    return datapath.map_image(settings.asking(others), secret, image, writable, call.deadline, snap)


def _no_map(call, refusal):
    reason = "this host's kernel cannot map %s: %s (see dmesg). Ceph's monitors are %s"
    return VDIUnavailable(reason % (call.location, refusal, ", ".join(call.settings.monitors)))
