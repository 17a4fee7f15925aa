"""pool: the one there is."""

from __future__ import annotations

import http.client
import logging
from typing import TYPE_CHECKING

from lab.xapi import role
from lab.xapi.classes import pbd as pbds
from lab.xapi.failure import Failure
from lab.xapi.model import NULL, kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

FOLLOW_TIMEOUT_S = 30.0  # a busy dom0 takes a while to write a file

log = logging.getLogger(__name__)
POOL = kind(
    "pool",
    """
    uuid                          run  string                                        -
    name_label                    rw   string                                        -
    name_description              rw   string                                        -
    master                        run  host ref                                      -
    default_SR                    rw   SR ref                                        -
    suspend_image_SR              rw   SR ref                                        -
    crash_dump_SR                 rw   SR ref                                        -
    other_config                  rw   (string -> string) map                        -
    ha_enabled                    run  bool                                          false
    ha_configuration              run  (string -> string) map                        {}
    ha_statefiles                 run  string set                                    {}
    ha_host_failures_to_tolerate  run  int                                           0
    tags                          rw   string set                                    {}
    gui_config                    rw   (string -> string) map                        {}
    allowed_operations            run  enum pool_allowed_operations set              {}
    current_operations            run  (string -> enum pool_allowed_operations) map  {}
    tls_verification_enabled      run  bool                                          false
    """,
)


@POOL.call()
def sync_database(context: Context) -> None:
    """Have the database on disk before the answer."""
    context.db.save()


@POOL.call(host="host ref")
def eject(context: Context, host: str) -> None:
    """The host and its local SRs leave the pool's records. A real one then begins anew, as a pool of its own."""
    row, db = context.db.row("host", host), context.db
    if host == db.get("pool", db.only("pool"), "master"):
        raise Failure("OPERATION_NOT_ALLOWED", "the master cannot be ejected")
    if set(row["resident_VMs"]) - {row["control_domain"]}:
        raise Failure("HOST_HAS_RESIDENT_VMS", host)
    context.agent(host).call("leave", FOLLOW_TIMEOUT_S)
    for pbd in row["PBDs"]:
        sr = db.get("PBD", pbd, "SR")
        pbds.destroy_record(context, pbd)
        if not db.get("SR", sr, "shared") and not db.get("SR", sr, "PBDs"):
            _forget_with_disks(context, sr)
    for pif in db.where("PIF", host=host):
        db.destroy("PIF", pif)
    for vm in db.where("VM", affinity=host):
        db.set("VM", vm, affinity=NULL)
    for kind_of, ref in (("VM", row["control_domain"]), ("host_metrics", row["metrics"]), ("host", host)):
        db.destroy(kind_of, ref)


def _forget_with_disks(context: Context, sr: str) -> None:
    for vdi in context.db.get("SR", sr, "VDIs"):
        for vbd in context.db.get("VDI", vdi, "VBDs"):
            context.db.destroy("VBD", vbd)
        context.db.destroy("VDI", vdi)
    context.db.destroy("SR", sr)


@POOL.call()
def emergency_transition_to_master(context: Context) -> None:
    """Asked of a member, whose session is its own: it is the master after the restart that follows."""
    settings = context.toolstack.settings
    if not settings.is_master:
        role.take_database(settings)
        context.toolstack.local.call("follow", FOLLOW_TIMEOUT_S, master=settings.host)


@POOL.call(master_address="string")
def emergency_reset_master(context: Context, master_address: str) -> None:
    """Asked of a member: it follows that master after the restart that follows."""
    for name, peer in context.toolstack.settings.peers.items():
        if peer.address == master_address:
            context.toolstack.local.call("follow", FOLLOW_TIMEOUT_S, master=name)
            return
    raise Failure("HOST_NAME_INVALID", master_address)


@POOL.call("host ref set")
def recover_slaves(context: Context) -> list[str]:
    """Have all that can be reached follow this master."""
    found = []
    for name, remote in context.toolstack.remotes.items():
        if name != context.toolstack.settings.host:
            try:
                remote.call("follow", FOLLOW_TIMEOUT_S, master=context.toolstack.settings.host)
            except (Failure, OSError, http.client.HTTPException) as error:
                log.info("%s does not follow: %s", name, error)
                continue
            found.append(context.toolstack.host_ref(name))
    return found
