"""What tests do with a pool on loopback: install the small driver, log in, make records."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import XenAPI  # type: ignore[import-untyped]

from lab.xapi.loopback import DEFAULT_PLUGINS, PASSWORD, LoopbackHost, LoopbackPool

DRIVER = Path(__file__).parent / "small_driver.py"
NULL = "OpaqueRef:NULL"
MIB = 1024**2


def install_driver(host: LoopbackHost) -> None:
    """The driver `small` in that host's dom0, whitelisted as an administrator would do it."""
    executable = host.root / "opt/xensource/sm/SMALLSR"
    shutil.copy(DRIVER, executable)
    executable.chmod(0o755)
    (host.root / "etc/xapi.conf.d/50-small.conf").write_text(f"sm-plugins={DEFAULT_PLUGINS} small\n")
    (host.root / "storage").mkdir(exist_ok=True)


def open_session(pool: LoopbackPool) -> Any:
    """The official client's session, logged in."""
    session = XenAPI.Session(pool.url, ignore_ssl=True)
    session.xenapi.login_with_password("root", PASSWORD, "1.0", "contract tests")
    return session


def log_in(pool: LoopbackPool) -> Any:
    return open_session(pool).xenapi


def requests(host: LoopbackHost) -> list[dict[str, Any]]:
    """What the small driver of that host was asked, in order."""
    log = host.root / "requests.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def commands(host: LoopbackHost) -> list[str]:
    return [request["command"] for request in requests(host)]


def make_sr(api: Any, pool: LoopbackPool, *, name: str = "shared", **more: str) -> str:
    """A shared SR of type `small` in the master's folder."""
    config = {"path": str(pool.master.root / "storage"), **more}
    return str(api.SR.create(master(api), config, "0", name, "", "small", "user", True, {}))


def master(api: Any) -> str:
    (pool,) = api.pool.get_all()
    return str(api.pool.get_master(pool))


def vdi_record(sr: str, size_bytes: int = 8 * MIB, **more: Any) -> dict[str, Any]:
    return {
        "name_label": "disk",
        "name_description": "",
        "SR": sr,
        "virtual_size": str(size_bytes),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        **more,
    }


def vbd_record(vm: str, vdi: str, **more: Any) -> dict[str, Any]:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": "0",
        "bootable": True,
        "mode": "RW",
        "type": "Disk",
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **more,
    }


def vm_record(name: str = "guest", memory_bytes: int = 256 * MIB, **more: Any) -> dict[str, Any]:
    memory = {f"memory_{limit}": str(memory_bytes) for limit in ("static_max", "dynamic_max", "dynamic_min")}
    return {
        "name_label": name,
        "name_description": "",
        "user_version": "1",
        "is_a_template": False,
        "affinity": NULL,
        "memory_static_min": "0",
        **memory,
        "VCPUs_params": {},
        "VCPUs_max": "1",
        "VCPUs_at_startup": "1",
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "destroy",
        "PV_bootloader": "",
        "PV_kernel": "/boot/guest/vmlinuz",
        "PV_ramdisk": "",
        "PV_args": "",
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
        "HVM_boot_policy": "",
        "HVM_boot_params": {},
        "platform": {},
        "PCI_bus": "",
        "other_config": {},
        "recommendations": "",
        **more,
    }


def wait_for_task(api: Any, task: str) -> dict[str, Any]:
    """The record of an `Async.` call's task that has succeeded, its result without the XML."""
    deadline = time.monotonic() + 20
    while (record := api.task.get_record(task))["status"] == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert record["status"] == "success", record["error_info"]
    return {**record, "result": record["result"].removeprefix("<value>").removesuffix("</value>")}


def refused(call: Any, *arguments: Any) -> list[str]:
    """The error of a call that must be refused."""
    try:
        answer = call(*arguments)
    except XenAPI.Failure as failure:
        return list(failure.details)
    raise AssertionError(f"was not refused; answered {answer!r}")
