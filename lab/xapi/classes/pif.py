"""PIF: each host's one interface on the LAN."""

from __future__ import annotations

from lab.xapi.model import kind

PIF = kind(
    "PIF",
    """
    uuid                     run  string                        -
    device                   new  string                        -
    network                  new  network ref                   -
    host                     new  host ref                      -
    MAC                      new  string                        -
    MTU                      new  int                           -
    VLAN                     new  int                           -
    metrics                  run  PIF_metrics ref               -
    physical                 run  bool                          false
    currently_attached       run  bool                          true
    ip_configuration_mode    run  enum ip_configuration_mode    None
    IP                       run  string                        ""
    netmask                  run  string                        ""
    gateway                  run  string                        ""
    DNS                      run  string                        ""
    management               run  bool                          false
    other_config             rw   (string -> string) map        {}
    disallow_unplug          run  bool                          false
    ipv6_configuration_mode  run  enum ipv6_configuration_mode  None
    IPv6                     run  string set                    {}
    ipv6_gateway             run  string                        ""
    primary_address_type     run  enum primary_address_type     IPv4
    managed                  new  bool                          true
    properties               run  (string -> string) map        {}
    capabilities             run  string set                    {}
    igmp_snooping_status     run  enum pif_igmp_status          unknown
    """,
)
