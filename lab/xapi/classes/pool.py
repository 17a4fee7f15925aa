"""pool: the one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.xapi.model import kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

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
