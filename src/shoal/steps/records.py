"""Finds the pool's records that steps need, by mark or by name, and sets their marks. Makes and destroys nothing.

Shoal's marks are keys `shoal:…` in other_config: they say what Shoal made, so that nothing else is ever taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.spec.names import storage_vm_name

NULL = "OpaqueRef:NULL"
HOST_MARK = "shoal:host"
ROLE_MARK = "shoal:role"
CALL_TIMEOUT_S = 120.0


def config_of(record: Mapping[str, object]) -> dict[str, str]:
    return mapping(record, "other_config")


def mapping(record: Mapping[str, object], name: str) -> dict[str, str]:
    found = record.get(name)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def refs(record: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = record.get(name)
    return tuple(str(ref) for ref in found) if isinstance(found, list | tuple) else ()


async def pool_ref(xenapi: XenApi) -> str:
    found = await xenapi.call("pool.get_all")
    assert isinstance(found, list) and len(found) == 1, "a toolstack has exactly one pool"
    return str(found[0])


async def host_ref(xenapi: XenApi, name: str) -> str:
    return await _only(xenapi, "host", name)


async def network_ref(xenapi: XenApi, bridge: str) -> str:
    for ref, record in (await xenapi.records("network")).items():
        if record.get("bridge") == bridge:
            return ref
    raise ShoalError(f"the pool has no network on bridge {bridge}", resolution="Check `network.public.bridge`.")


async def local_sr_ref(xenapi: XenApi, name: str, host: str) -> str:
    """The SR called `name` that is plugged on `host`: local SRs have the same name on every host."""
    on_host = await host_ref(xenapi, host)
    for sr in await by_name(xenapi, "SR", name):
        for pbd in await pbds(xenapi, sr):
            if pbd["host"] == on_host and pbd["currently_attached"]:
                return sr
    raise ShoalError(f"{host} has no SR {name!r} plugged", resolution="Check `storage_vm.system_disk.sr`.")


async def pbds(xenapi: XenApi, sr: str) -> tuple[Record, ...]:
    """The PBDs of an SR, each with its own ref under "ref"."""
    found = refs(await xenapi.record("SR", sr), "PBDs")
    return tuple([{**await xenapi.record("PBD", ref), "ref": ref} for ref in found])


async def by_name(xenapi: XenApi, kind: str, name: str) -> tuple[str, ...]:
    found = await xenapi.call(f"{kind}.get_by_name_label", name)
    return tuple(str(ref) for ref in found) if isinstance(found, list | tuple) else ()


async def storage_vm(xenapi: XenApi, host: str, name: str) -> tuple[str, Record] | None:
    """The storage VM that Shoal made for a host. Refuses two of them, and a stranger's VM of that name."""
    found = [(ref, await xenapi.record("VM", ref)) for ref in await by_name(xenapi, "VM", name)]
    if not found:
        return None
    if len(found) > 1:
        raise ShoalError(
            f"there are {len(found)} VMs called {name}", resolution="Remove or rename all but Shoal's own."
        )
    if config_of(found[0][1]).get(HOST_MARK) != host:
        raise ShoalError(
            f"the VM {name} was not made by Shoal",
            details=f"It has no other_config {HOST_MARK}={host}.",
            resolution="Rename or remove it.",
        )
    return found[0]


def is_storage_vm(vm: Mapping[str, object], host: str) -> bool:
    """By mark and name: a VM that a person copied from it has the mark, too."""
    is_ordinary = not (vm["is_a_template"] or vm.get("is_a_snapshot"))
    return is_ordinary and vm["name_label"] == storage_vm_name(host) and config_of(vm).get(HOST_MARK) == host


async def is_of_another(xenapi: XenApi, vdi: Mapping[str, object], host: str) -> bool:
    """Whether a disk with the marks is none of the storage VM's: a snapshot, or a copy that a person's VM has."""
    if vdi.get("is_a_snapshot"):
        return True
    vms = [await xenapi.record("VM", str((await xenapi.record("VBD", ref))["VM"])) for ref in refs(vdi, "VBDs")]
    vms = [vm for vm in vms if not vm["is_control_domain"]]  # the toolstack reads or writes it
    return bool(vms) and not any(is_storage_vm(vm, host) for vm in vms)


async def own_vdis(xenapi: XenApi, name: str, host: str, role: str) -> tuple[tuple[str, Record], ...]:
    """The disks of that name that Shoal made for this host in this role; there is one, unless something was killed."""
    found = [(ref, await xenapi.record("VDI", ref)) for ref in await by_name(xenapi, "VDI", name)]
    wanted = {HOST_MARK: host, ROLE_MARK: role}.items()
    marked = [(ref, record) for ref, record in found if wanted <= config_of(record).items()]
    return tuple([each for each in marked if not await is_of_another(xenapi, each[1], host)])


async def set_mark(xenapi: XenApi, kind: str, ref: str, key: str, value: str) -> None:
    """Set one key of other_config, whatever it was before."""
    await xenapi.call(f"{kind}.remove_from_other_config", ref, key)  # succeeds also when the key is not there
    try:
        await xenapi.call(f"{kind}.add_to_other_config", ref, key, value)
    except XenApiError as error:
        if error.code != "MAP_DUPLICATE_KEY":
            raise
        # Another step set it at the same time; whose value stands is read again by whoever cares.


async def note_before(xenapi: XenApi, pool: str, key: str, value: str) -> None:
    """Keep in the pool what a setting was before Shoal, for `destroy`. The first note stands."""
    try:
        await xenapi.call("pool.add_to_other_config", pool, key, value)
    except XenApiError as error:
        if error.code != "MAP_DUPLICATE_KEY":
            raise


async def _only(xenapi: XenApi, kind: str, name: str) -> str:
    found = await by_name(xenapi, kind, name)
    if len(found) != 1:
        raise ShoalError(
            f"the pool has {'no' if not found else len(found)} {kind} called {name!r}",
            resolution="Use names that are there once.",
        )
    return found[0]
