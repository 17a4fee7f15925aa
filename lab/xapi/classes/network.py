"""network: the pool's one network, bridge xenbr0 on every host."""

from __future__ import annotations

from lab.xapi.model import kind

NETWORK = kind(
    "network",
    """
    uuid                  run  string                                   -
    name_label            rw   string                                   ""
    name_description      rw   string                                   ""
    allowed_operations    run  enum network_operations set              {}
    current_operations    run  (string -> enum network_operations) map  {}
    VIFs                  run  VIF ref set                              <- network
    PIFs                  run  PIF ref set                              <- network
    MTU                   rw   int                                      1500
    other_config          rw   (string -> string) map                   -
    bridge                new  string                                   ""
    managed               new  bool                                     true
    tags                  rw   string set                               {}
    default_locking_mode  run  enum network_default_locking_mode        unlocked
    assigned_ips          run  (VIF ref -> string) map                  {}
    purpose               run  enum network_purpose set                 {}
    """,
)
