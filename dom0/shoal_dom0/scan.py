"""sr_scan: bring xapi's records in line with the pool. One read of either, then a write for each difference only."""

import collections

from . import records, sr
from .errors import ScanFailed, VDIMissing
from .names import is_uuid, uuid_of
from .xapi import NULL, ignore_gone

Known = collections.namedtuple("Known", "ref size_bytes cbt_enabled is_a_snapshot snapshot_of")
_NAMED_MAX = 10  # of things that an error lists
_SAID_MAX = 300  # characters of each
_FIELDS = {"SR", "location", "virtual_size", "cbt_enabled", "is_a_snapshot", "snapshot_of"}


def sr_scan(call):
    """What cannot be read fails the scan: xapi would forget it."""
    sr.read_own_pool(call)  # while Ceph is away, nothing else has to wait until this fails
    with call.lock():
        # Records first: a disk that is in them and not in the later list is really gone.
        known = read_known(call)
        listing = call.volumes.list()
        pool = sr.read_own_pool(call)  # of another pool, and so of none of these disks, the list may have been
        volumes = {volume["id"]: volume for volume in listing["volumes"] if is_uuid(volume["id"])}
        snapshots = {
            snapshot["location"]: snapshot
            for snapshot in listing.get("snapshots", ())
            if uuid_of(snapshot["location"]) and "@" in snapshot["location"]
        }
        lost = sorted(set(known) - set(volumes) - set(snapshots))
        _refuse_if_unreadable(lost, listing["broken"])
        if len(lost) > 1 and not volumes and not snapshots:
            _refuse_to_forget_all(known)
        refs = _introduce(call, known, volumes, snapshots)
        for location in lost:
            records.forget(call, known[location].ref)
        for location in set(known) & set(volumes):
            _correct(call, known[location], records.from_volume(volumes[location]))
        for location in set(known) & set(snapshots):
            snapshot = snapshots[location]
            _correct(call, known[location], records.from_snapshot(snapshot, refs.get(snapshot["of"], NULL)))
        figures = call.volumes.figures() if call.settings.data_pool else pool
        sr.write_figures(call, sr.provisioned_bytes(listing), figures)


def read_known(call):
    """location → Known, of every record of this SR."""

    def cut(members):
        if not _FIELDS.issubset(members):
            return members
        rest = [members[name] for name in ("cbt_enabled", "is_a_snapshot", "snapshot_of")]
        return members["SR"], members["location"], int(members["virtual_size"]), rest

    expression = 'field "SR" = "%s"' % call.sr_ref
    found = call.xapi.call("VDI.get_all_records_where", expression, slim=cut)
    return {
        location: Known(ref, size_bytes, *rest)
        for ref, (sr_ref, location, size_bytes, rest) in found.items()
        if sr_ref == call.sr_ref
    }


def _refuse_if_unreadable(lost, broken):
    """A record without its disk is forgotten only if all of the pool could be read: what a broken image's snapshots
    are is not known.
    """
    if lost and broken:
        reasons = "; ".join(("disk %s: %s" % (each["id"], each["error"]))[:_SAID_MAX] for each in broken[:_NAMED_MAX])
        raise ScanFailed("%s. Nothing was changed; not found: %s" % (reasons, ", ".join(lost[:_NAMED_MAX])))


def _refuse_to_forget_all(known):
    """That all are gone without a word to xapi is more likely a mistake, and could not be undone: with a record goes
    what xapi alone knows, such as which VM has the disk.
    """
    raise ScanFailed(
        "the pool seems to be empty, and xapi knows %d disks and snapshots of it, %s among them. Nothing was changed. If"
        " they are really gone, destroy them one by one" % (len(known), min(known))
    )


def _introduce(call, known, volumes, snapshots):
    """Make the missing records; location → reference of all disks' records. Snapshots last, since they refer to disks."""
    refs = {location: found.ref for location, found in known.items()}
    for uuid in sorted(set(volumes) - set(known)):
        refs[uuid] = _introduce_one(call, records.from_volume(_whole(call, uuid, volumes[uuid])))
    for location in sorted(set(snapshots) - set(known)):
        snapshot = _whole(call, location, snapshots[location])
        _introduce_one(call, records.from_snapshot(snapshot, refs.get(snapshot["of"], NULL)))
    return refs


def _whole(call, location, entry):
    """With the long texts that the list leaves out. One that has gone since is as listed; the next scan will know."""
    try:
        return call.volumes.stat(location) if entry.get("shortened") else entry
    except VDIMissing:
        return entry


def _introduce_one(call, record):
    if call.deadline.passed():
        raise ScanFailed("not done in %.0f s; the next scan goes on from here" % call.deadline.seconds)
    return records.introduce_found(call, record)


def _correct(call, known, record):
    """Write what differs. A snapshot of a disk that is gone keeps what xapi has noted."""
    if known.size_bytes != record["size_bytes"]:
        records.set_size(call, known.ref, record["size_bytes"])
    if known.cbt_enabled != record["cbt_enabled"]:
        ignore_gone(call.xapi.call, "VDI.set_cbt_enabled", known.ref, record["cbt_enabled"])
    if record["is_a_snapshot"] and not known.is_a_snapshot:
        ignore_gone(call.xapi.call, "VDI.set_is_a_snapshot", known.ref, True)
    if record["snapshot_of"] not in (NULL, known.snapshot_of):
        ignore_gone(call.xapi.call, "VDI.set_snapshot_of", known.ref, record["snapshot_of"])
