"""What of Shoal is left in a pool: its records, and in each dom0 the files that are Shoal's alone. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from shoal.clients.connections import Connections
from shoal.clients.ssh import Ssh
from shoal.clients.xenapi import XenApi
from shoal.facts import Dom0, Host, Marked, OwnVm, Remains
from shoal.kit.shipped import DOM0_OWN, DOM0_PLUGIN, DOM0_PLUGIN_LINK, DOM0_SERVICES
from shoal.observe.dom0 import look_at_dom0
from shoal.observe.look import DEAD_HOST_TIMEOUT_S, HOST_TIMEOUT_S, within
from shoal.observe.pool import CLASSES, Records, read_pool
from shoal.observe.reading import Answer, flag, text, text_table
from shoal.observe.virtual_disks import read_virtual_disks
from shoal.plan.host_marks import WORK_LOCK
from shoal.spec.names import storage_vm_name

MARKED_CLASSES = ("pool", "host", "SR", "VDI", "VM")
ALERT_PREFIX = "SHOAL_"
# Ours, while we look; its holder takes it away.
LOCK_KEYS = ("shoal:lock", "shoal:lock-renewed", "shoal:lock-waits", WORK_LOCK, f"{WORK_LOCK}-renewed")
FILES_TIMEOUT_S = 30.0
# The paths that are there, and after the character 1 the units that are active. $1 the container plugin's link, $2 what
# it leads to if it is Shoal's; units come after "--".
LOOK = """[ "$(readlink "$1")" != "$2" ] || echo "$1"; shift 2
while [ "$1" != -- ]; do [ ! -e "$1" ] && [ ! -L "$1" ] || echo "$1"; shift; done; shift; printf '\\001'
for u; do ! systemctl is-active --quiet "$u" || echo "$u"; done"""


async def look_at_remains(connections: Connections) -> Remains:
    """A dom0 that does not answer is None, and its host's `unreachable` says why."""
    xenapi = connections.xenapi
    await xenapi.login()
    found = await asyncio.gather(*(xenapi.records(kind) for kind in (*CLASSES, "message")))
    records = dict(zip((*CLASSES, "message"), found, strict=True))
    seen = read_pool(records, {})
    connections.know_dom0s({host.name: host.address for host in seen.hosts})
    looks = await asyncio.gather(*(_look_at_host(host, connections) for host in seen.hosts))
    return Remains(
        pool=seen.pool,
        hosts=tuple(host for host, _, _ in looks),
        disks=read_virtual_disks(records),
        storage_vms=own_vms(records["VM"]),
        files={host.name: files for host, files, _ in looks if files},
        services={host.name: services for host, _, services in looks if services},
        marked=marked(records),
        ssh_keys=len(await own_secrets(xenapi)),
        alerts=sum(text(message, "name").startswith(ALERT_PREFIX) for message in records["message"].values()),
    )


def own_vms(vms: Mapping[str, Answer]) -> tuple[OwnVm, ...]:
    found = []
    for vm in vms.values():
        host = text_table(vm, "other_config").get("shoal:host", "")
        is_ordinary = not (flag(vm, "is_a_template") or flag(vm, "is_a_snapshot", default=False))
        # One of another name is a copy that a person made: the marks go with it.
        if host and is_ordinary and text(vm, "name_label") == storage_vm_name(host):
            found.append(OwnVm(text(vm, "uuid"), text(vm, "name_label"), host, text(vm, "power_state")))
    return tuple(sorted(found, key=lambda vm: (vm.host, vm.uuid)))


def marked(records: Records) -> tuple[Marked, ...]:
    found = []
    for kind in MARKED_CLASSES:
        for record in records[kind].values():
            keys = own_keys(text_table(record, "other_config"))
            if keys:
                found.append(Marked(kind, text(record, "name_label"), keys))
    return tuple(found)


def own_keys(other_config: Mapping[str, str]) -> tuple[str, ...]:
    """Shoal's marks among them, but for the lock that is held meanwhile."""
    return tuple(sorted(key for key in other_config if key.startswith("shoal:") and key not in LOCK_KEYS))


async def own_secrets(xenapi: XenApi) -> tuple[str, ...]:
    """Refs of the secrets with Shoal's mark. Their values are not asked for."""
    refs = await xenapi.call("secret.get_all")
    found = []
    for ref in refs if isinstance(refs, list) else ():
        other_config = await xenapi.call("secret.get_other_config", ref)
        if isinstance(other_config, dict) and "shoal:role" in other_config:
            found.append(str(ref))
    return tuple(found)


async def _look_at_host(host: Host, connections: Connections) -> tuple[Host, tuple[str, ...], tuple[str, ...]]:
    async def look() -> tuple[Dom0, list[str], list[str]]:
        ssh = await connections.dom0(host.name)
        return (await look_at_dom0(ssh), *(await _look_at_files(ssh)))

    found = await within(HOST_TIMEOUT_S if host.live else DEAD_HOST_TIMEOUT_S, look)
    if isinstance(found, str):
        return replace(host, unreachable=found), (), ()
    dom0, files, services = found
    return replace(host, dom0=dom0), tuple(files), tuple(services)


async def _look_at_files(ssh: Ssh) -> tuple[list[str], list[str]]:
    argv = ["sh", "-c", LOOK, "sh", DOM0_PLUGIN_LINK, DOM0_PLUGIN, *DOM0_OWN, "--", *DOM0_SERVICES]
    files, services = (await ssh.run(argv, timeout_s=FILES_TIMEOUT_S)).stdout.split("\x01")
    return files.splitlines(), services.splitlines()
