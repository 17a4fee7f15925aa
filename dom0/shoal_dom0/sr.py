"""Commands on a whole SR. None of them maps anything."""

from . import records, xmlrpc
from .errors import SRError, SRUnavailable


def sr_create(call):
    """Take the pool for this SR. Disks of an SR of the same uuid come back with the next scan; those without an owner mark
    are refused.
    """
    _check_kernel(call)
    _check_cluster(call, call.volumes.pool())
    records.read_secret(call)  # a missing key shows now, not at the first disk
    call.volumes.claim(call.sr_uuid)


def sr_delete(call):
    """Give the pool back; refused while disks remain."""
    call.volumes.release(call.sr_uuid)


def sr_attach(call):
    from . import datapath

    _check_kernel(call)
    read_own_pool(call)
    datapath.check_kernel(call.deadline)


def sr_detach(call):
    """Unmap what xapi has forgotten to; a disk that is still open is an error."""
    from . import attach

    attach.release_all(call)


def sr_update(call):
    listing = call.volumes.list()
    write_figures(call, provisioned_bytes(listing), call.volumes.figures())


def sr_probe(call):
    """SRs that are in the pool: the one that its owner mark names, as XML."""
    pool = call.volumes.pool()
    found = ""
    if pool.get("owner"):
        found = "<SR><UUID>%s</UUID><Size>%d</Size></SR>" % (xmlrpc.escape(pool["owner"]), pool["total_bytes"])
    return '<?xml version="1.0" ?><SRlist>%s</SRlist>' % found


def read_own_pool(call):
    """What the volume service says of the pool, which must be this SR's."""
    pool = call.volumes.pool()
    _check_cluster(call, pool)
    if pool.get("owner") != call.sr_uuid:
        owner = "SR %s" % pool["owner"] if pool.get("owner") else "no SR"
        raise SRUnavailable("pool %s belongs to %s, not to SR %s" % (call.settings.pool, owner, call.sr_uuid))
    return pool


def _check_kernel(call):
    if call.settings.namespace:
        from . import datapath

        datapath.check_namespaces()


def _check_cluster(call, pool):
    """The same pool name in another cluster is another pool."""
    wanted = call.settings.fsid
    if wanted and pool.get("fsid") != wanted:
        raise SRError("this is Ceph cluster %s, the SR's is %s" % (pool.get("fsid"), wanted))


def provisioned_bytes(listing):
    """The sum of the sizes that disks and snapshots show, as SM counts it."""
    return sum(entry["size_bytes"] for kind in ("volumes", "snapshots") for entry in listing.get(kind, ()))


def write_figures(call, provisioned_bytes, pool):
    """Size and use of the pool, as Ceph counts them with replicas taken out; each written only if it has changed."""
    figures = {"virtual_allocation": provisioned_bytes}
    if pool["total_bytes"]:  # 0: a new pool that Ceph has not counted yet; the next scan will know
        figures.update(physical_size=pool["total_bytes"], physical_utilisation=pool["used_bytes"])
    known = call.xapi.call("SR.get_record", call.sr_ref)
    for name, value in figures.items():
        if int(known[name]) != value:
            call.xapi.call("SR.set_" + name, call.sr_ref, str(value))
