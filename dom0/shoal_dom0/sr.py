"""Commands on a whole SR. None of them maps anything."""

from . import datapath, locking, records, xmlrpc
from .errors import ScanFailed, SRError, SRUnavailable
from .settings import UUID


def sr_create(call):
    """Take the pool for this SR. Disks that an earlier SR of the same uuid left there come back with the next scan."""
    _check_cluster(call, call.volumes.pool())
    records.read_secret(call)  # a missing key shows now, not at the first disk
    call.volumes.claim(call.sr_uuid)


def sr_delete(call):
    """Give the pool back; refused while disks remain."""
    call.volumes.release(call.sr_uuid)


def sr_attach(call):
    pool = call.volumes.pool()
    _check_cluster(call, pool)
    if pool.get("owner") != call.sr_uuid:
        owner = "SR %s" % pool["owner"] if pool.get("owner") else "no SR"
        raise SRUnavailable("pool %s belongs to %s, not to SR %s" % (call.settings.pool, owner, call.sr_uuid))
    datapath.check_kernel(call.deadline)


def sr_detach(call):
    """Unmap what xapi has forgotten to; a disk that is still open is an error."""
    from . import attach

    attach.release_all(call)


def sr_scan(call):
    """Bring xapi's records in line with the pool. A disk that cannot be read fails the scan: xapi would forget it."""
    with locking.hold(call.sr_uuid, call.deadline):
        # Records first: a disk that is in them and not in the later list is really gone.
        known = records.read_all(call)
        listing = call.volumes.volumes()
        volumes = {volume["id"]: volume for volume in listing["volumes"] if UUID.match(volume["id"])}
        broken = {entry["id"]: entry["error"] for entry in listing["broken"]}
        lost = sorted(set(broken) & set(known))
        if lost:
            raise ScanFailed("; ".join("disk %s: %s" % (uuid, broken[uuid]) for uuid in lost))
        for uuid in sorted(set(volumes) - set(known)):
            records.introduce_found(call, volumes[uuid])
        for uuid in sorted(set(known) - set(volumes)):
            records.forget(call, known[uuid]["ref"])
        for uuid in set(known) & set(volumes):
            if known[uuid]["size_bytes"] != volumes[uuid]["size_bytes"]:
                records.set_size(call, known[uuid]["ref"], volumes[uuid]["size_bytes"])
        _write_figures(call, sum(volume["size_bytes"] for volume in volumes.values()))


def sr_update(call):
    listing = call.volumes.volumes()
    _write_figures(call, sum(volume["size_bytes"] for volume in listing["volumes"]))


def sr_probe(call):
    """SRs that are in the pool: the one that its owner mark names, as XML."""
    pool = call.volumes.pool()
    found = ""
    if pool.get("owner"):
        found = "<SR><UUID>%s</UUID><Size>%d</Size></SR>" % (xmlrpc.escape(pool["owner"]), pool["total_bytes"])
    return '<?xml version="1.0" ?><SRlist>%s</SRlist>' % found


def _check_cluster(call, pool):
    """The same pool name in another cluster is another pool."""
    wanted = call.settings.fsid
    if wanted and pool.get("fsid") != wanted:
        raise SRError("this is Ceph cluster %s, the SR's is %s" % (pool.get("fsid"), wanted))


def _write_figures(call, provisioned_bytes):
    pool = call.volumes.pool()
    if pool["total_bytes"]:  # 0: a new pool that Ceph has not counted yet; the next scan will know
        call.xapi.call("SR.set_physical_size", call.sr_ref, str(pool["total_bytes"]))
        call.xapi.call("SR.set_physical_utilisation", call.sr_ref, str(pool["used_bytes"]))
    call.xapi.call("SR.set_virtual_allocation", call.sr_ref, str(provisioned_bytes))
