"""The XenAPI records that a storage VM is made from: VM, VBD, VIF. Pure."""

from __future__ import annotations

from shoal.clients.xenapi import Record

# A storage VM lives where its disks are.
BLOCKED = ("migrate_send", "pool_migrate", "suspend", "checkpoint", "snapshot", "clone", "copy")


def compose(name: str, *, vcpus: int, memory_bytes: int, affinity: str, marks: dict[str, str]) -> Record:
    # auto_poweroff: xapi's shutdown of a host spares the VM, which must outlive the unplugging of its own SR.
    other_config = {"auto_poweron": "true", "auto_poweroff": "true", **marks}
    memory = dict.fromkeys(
        ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max"), memory_bytes
    )
    empty = dict.fromkeys(
        ("PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args", "PV_bootloader_args", "PV_legacy_args", "PCI_bus"), ""
    )
    return {
        "name_label": name,
        "name_description": "Shoal's storage VM of this host: Ceph runs in it. Do not move, suspend or remove it.",
        "user_version": 1,
        "is_a_template": False,
        "affinity": affinity,
        "VCPUs_params": {},
        "VCPUs_max": vcpus,
        "VCPUs_at_startup": vcpus,
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "restart",
        "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "c"},
        "platform": {"acpi": "1", "apic": "true", "pae": "true", "nx": "true", "viridian": "false"},
        "recommendations": "",
        "xenstore_data": {},
        "ha_always_run": False,
        "ha_restart_priority": "",
        "tags": [],
        "blocked_operations": dict.fromkeys(BLOCKED, "Shoal's storage VM stays on its host"),
        "other_config": other_config,
        **memory,
        **empty,
    }


def compose_vbd(vm: str, vdi: str, number: int) -> Record:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": str(number),
        "bootable": number == 0,
        "mode": "RW",  # also the config drive: xapi refuses read-only disks for HVM guests
        "type": "Disk",
        "unpluggable": False,
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def compose_vif(vm: str, network: str, mac: str) -> Record:
    return {
        "device": "0",
        "network": network,
        "VM": vm,
        "MAC": mac,
        "MTU": 1500,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        "locking_mode": "network_default",
        "ipv4_allowed": [],
        "ipv6_allowed": [],
    }
