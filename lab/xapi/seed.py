"""The pool as it is before Shoal comes: hosts, one network, Local storage on each host, a template. Made once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi.clock import now
from lab.xapi.database import Database
from lab.xapi.model import NULL

if TYPE_CHECKING:
    from lab.xapi.toolstack import Peer, Settings

GIB = 1024**3
HOST_MEMORY_BYTES = 16 * GIB  # more than the emulated machine has: storage VMs run on this machine's own memory
DOM0_MEMORY_BYTES = GIB
VERSION = {
    "product_brand": "XCP-ng",
    "product_version": "8.3.0",
    "product_version_text": "8.3",
    "product_version_text_short": "8.3",
    "platform_name": "XCP",
    "platform_version": "3.4.0",
    "xapi": "24.19",
    "xen": "4.17",
    "build_number": "lab",
    "hostname": "localhost",
    "date": "2026-01-01",
    "network_backend": "bridge",
}


def seed(db: Database, settings: Settings) -> None:
    """Does nothing to a pool that is there."""
    if db.refs("pool"):
        return
    network = db.create(
        "network",
        {"name_label": "Pool-wide network associated with eth0", "bridge": "xenbr0", "MTU": 1500, "managed": True},
    )
    hosts = {name: _host(db, peer, network) for name, peer in settings.peers.items()}
    db.create("pool", {"name_label": "", "master": hosts[settings.master], "other_config": {}, "default_SR": NULL})
    _template(db)


def join(db: Database, peer: Peer) -> None:
    """A host that is none of the pool's becomes one, as `xe pool-join` has it: with a local SR, and nothing on it."""
    with db.lock:
        if not db.where("host", hostname=peer.name):
            (network,) = db.where("network", bridge="xenbr0")
            _host(db, peer, network)


def _host(db: Database, peer: Peer, network: str) -> str:
    metrics = db.create("host_metrics", {"memory_total": HOST_MEMORY_BYTES, "live": False, "last_updated": now()})
    values: dict[str, Any] = {
        "name_label": peer.name,
        "name_description": "Default install",
        "hostname": peer.name,
        "address": peer.address,
        "metrics": metrics,
        "enabled": True,
        "software_version": VERSION,
        "API_version_major": 2,
        "API_version_minor": 21,
        "API_version_vendor": "XenSource",
        "capabilities": ["xen-3.0-x86_64", "hvm-3.0-x86_64"],
        "cpu_info": {"cpu_count": "2", "socket_count": "1"},
        "edition": "xcp-ng",
        "other_config": {"agent_start_time": "0.", "boot_time": "0.", "lab": "stand-in"},
    }
    if peer.uuid:
        values["uuid"] = peer.uuid
    host = db.create("host", values)
    dom0 = _control_domain(db, peer, host)
    db.set("host", host, control_domain=dom0)
    _pif(db, peer, host, network)
    _local_storage(db, host)
    return host


def _control_domain(db: Database, peer: Peer, host: str) -> str:
    memory = {f"memory_{name}": DOM0_MEMORY_BYTES for name in ("static_max", "dynamic_max", "dynamic_min")}
    values: dict[str, Any] = {
        "name_label": f"Control domain on host: {peer.name}",
        "power_state": "Running",
        "is_control_domain": True,
        "resident_on": host,
        "affinity": host,
        "domid": 0,
        "VCPUs_max": 1,
        "VCPUs_at_startup": 1,
        "metrics": db.create("VM_metrics", {"memory_actual": DOM0_MEMORY_BYTES}),
        **memory,
    }
    if peer.control_domain_uuid:
        values["uuid"] = peer.control_domain_uuid
    return db.create("VM", values)


def _pif(db: Database, peer: Peer, host: str, network: str) -> None:
    db.create(
        "PIF",
        {
            "device": "eth0",
            "network": network,
            "host": host,
            "MAC": peer.mac,
            "MTU": 1500,
            "VLAN": -1,
            "physical": True,
            "currently_attached": True,
            "management": True,
            "managed": True,
            "ip_configuration_mode": "Static",
            "IP": peer.address,
            "netmask": "255.255.255.0",
        },
    )


def _local_storage(db: Database, host: str) -> None:
    sr = db.create(
        "SR",
        {
            "name_label": "Local storage",
            "type": "ext",
            "content_type": "user",
            "shared": False,
            "physical_size": -1,
            "other_config": {"i18n-key": "local-storage"},
        },
    )
    db.create("PBD", {"host": host, "SR": sr, "device_config": {"device": "lab"}})


def _template(db: Database) -> None:
    memory = {f"memory_{name}": GIB for name in ("static_max", "dynamic_max", "dynamic_min", "static_min")}
    db.create(
        "VM",
        {
            "name_label": "Other install media",
            "name_description": "Template which allows VM installation from install media",
            "is_a_template": True,
            "is_default_template": True,
            "power_state": "Halted",
            "user_version": 1,
            "VCPUs_max": 1,
            "VCPUs_at_startup": 1,
            "actions_after_shutdown": "destroy",
            "actions_after_reboot": "restart",
            "actions_after_crash": "restart",
            "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {"order": "dc"},
            "platform": {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "true"},
            "other_config": {"default_template": "true"},
            "metrics": db.create("VM_metrics", {}),
            "domid": -1,
            **memory,
        },
    )
