"""VM_metrics and VM_guest_metrics: what is seen of a VM from outside, and what it says from inside."""

from __future__ import annotations

from lab.xapi.model import kind

VM_METRICS = kind(
    "VM_metrics",
    """
    uuid                 run  string                   -
    memory_actual        run  int                      -
    VCPUs_number         run  int                      -
    VCPUs_utilisation    run  (int -> float) map       {}
    VCPUs_CPU            run  (int -> int) map         -
    VCPUs_params         run  (string -> string) map   -
    VCPUs_flags          run  (int -> string set) map  -
    state                run  string set               -
    start_time           run  datetime                 -
    install_time         run  datetime                 -
    last_updated         run  datetime                 -
    other_config         rw   (string -> string) map   {}
    hvm                  run  bool                     false
    nested_virt          run  bool                     false
    nomigrate            run  bool                     false
    current_domain_type  run  enum domain_type         unspecified
    """,
)

VM_GUEST_METRICS = kind(
    "VM_guest_metrics",
    """
    uuid                   run  string                  -
    os_version             run  (string -> string) map  -
    PV_drivers_version     run  (string -> string) map  -
    PV_drivers_up_to_date  run  bool                    -
    memory                 run  (string -> string) map  {}
    disks                  run  (string -> string) map  {}
    networks               run  (string -> string) map  -
    other                  run  (string -> string) map  -
    last_updated           run  datetime                -
    other_config           rw   (string -> string) map  {}
    live                   run  bool                    false
    can_use_hotplug_vbd    run  enum tristate_type      unspecified
    can_use_hotplug_vif    run  enum tristate_type      unspecified
    PV_drivers_detected    run  bool                    false
    """,
)
