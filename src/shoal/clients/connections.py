"""All connections of one run: the pool, each dom0, each storage VM, Ceph. Made when first asked for, kept, closed once.

Knows where things are and how to get in; must not know what is done there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from shoal.clients.ceph import Ceph, CephUnreachable
from shoal.clients.pins import Pins
from shoal.clients.ssh import Access, Ssh, Unreachable
from shoal.clients.xenapi import XenApi
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name

STORAGE_VM_KEY = "shoal:ssh-key"
"""Key in the pool's other_config: uuid of the secret that holds the private SSH key to all storage VMs."""

TRUSTED_S = 5.0
"""So long a monitor that was seen is taken to run: a look is a process, and a command finds out by itself."""


class Connections:
    """`async with Connections(spec, state) as connections`. `state` is Shoal's folder for this pool on this machine."""

    def __init__(self, spec: Spec, state: Path) -> None:
        self.spec, self.state = spec, state
        self.pins = Pins(state / "pins.json")
        self.xenapi = XenApi(
            spec.pool.url, spec.pool.user, spec.pool.password, pins=self.pins, fingerprint=spec.pool.fingerprint
        )
        self._dom0_addresses: dict[str, str] = {}
        self._storage_vm_key: Secret | None = None
        self._machines: dict[tuple[str, ...], Ssh] = {}
        self._ceph: Ceph | None = None
        self._ceph_host = ""
        self._ceph_seen_at = 0.0

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.gather(*(machine.close() for machine in self._machines.values()))
        await self.xenapi.close()

    async def dom0(self, host: str) -> Ssh:
        """The dom0 of a host of the pool, by the host's name."""
        if host not in self._dom0_addresses:
            self.know_dom0s(
                {str(r["name_label"]): str(r["address"]) for r in (await self.xenapi.records("host")).values()}
            )
        if host not in self._dom0_addresses:
            raise ShoalError(f"the pool has no host called {host}", resolution="Correct the name in the spec.")
        address = self._dom0_addresses[host]
        if (host, address) not in self._machines:
            self._machines[host, address] = Ssh(f"dom0 of {host}", address, self._dom0_access(), pins=self.pins)
        return self._machines[host, address]

    def know_dom0s(self, addresses: dict[str, str]) -> None:
        """Addresses of dom0s by host name, for who has them from the pool already."""
        self._dom0_addresses = addresses

    async def storage_vm(self, host: str) -> Ssh:
        """The storage VM of a host. Raises Unreachable while there is no such VM or no key to it."""
        if all(one.name != host for one in self.spec.hosts):
            raise Unreachable(f"the spec does not say where the storage VM of {host} is")
        refs = await self.xenapi.call("VM.get_by_name_label", storage_vm_name(host))
        if not isinstance(refs, list) or not refs:
            raise Unreachable(f"{host} has no storage VM yet")
        return await self.storage_vm_with(host, await self.xenapi.text("VM.get_uuid", refs[0]))

    async def storage_vm_with(self, host: str, uuid: str) -> Ssh:
        """The same, for who knows its uuid. A VM made anew has another host key, so that is pinned by uuid."""
        if (host, uuid) not in self._machines:
            key = await self._key_to_storage_vms()
            self._machines[host, uuid] = Ssh(
                f"storage VM of {host}",
                str(self.spec.host(host).storage_vm.address),
                Access(key=key),
                pins=self.pins,
                identity=f"storage VM {uuid}",
            )
        return self._machines[host, uuid]

    async def ceph(self, *, among: Sequence[str] | None = None) -> Ceph:
        """Ceph, through the first storage VM that runs a monitor. Raises CephUnreachable with what each one said.

        `among`: hosts whose storage VM may be asked, for who knows that others are off, or about to be.
        """
        names = [host.name for host in self.spec.hosts if among is None or host.name in among]
        kept = self._ceph
        if kept is not None and self._ceph_host in names:
            if time.monotonic() - self._ceph_seen_at < TRUSTED_S:
                return kept
            if await kept.has_mon():
                self._ceph_seen_at = time.monotonic()
                return kept
        seen = await asyncio.gather(*(self._ceph_of(name) for name in names))
        found = [(name, one) for name, one in zip(names, seen, strict=True) if isinstance(one, Ceph)]
        self._ceph_host, self._ceph = found[0] if found else ("", None)
        self._ceph_seen_at = time.monotonic()
        if self._ceph is None:
            raise CephUnreachable(
                "no storage VM runs a monitor that can be asked", details="\n".join(str(each) for each in seen)
            )
        return self._ceph

    async def _ceph_of(self, host: str) -> Ceph | str:
        try:
            ceph = Ceph(await self.storage_vm(host))
            return ceph if await ceph.has_mon() else f"{host}: no monitor runs in its storage VM"
        except ShoalError as error:
            return f"{host}: {error.brief}"

    async def _key_to_storage_vms(self) -> Secret:
        if self._storage_vm_key is None:
            for pool in (await self.xenapi.records("pool")).values():
                other_config = pool.get("other_config")
                uuid = other_config.get(STORAGE_VM_KEY) if isinstance(other_config, dict) else None
                if uuid:
                    ref = await self.xenapi.text("secret.get_by_uuid", uuid)
                    self._storage_vm_key = Secret(await self.xenapi.text("secret.get_value", ref))
        if self._storage_vm_key is None:
            raise Unreachable("the pool holds no SSH key to its storage VMs yet")
        return self._storage_vm_key

    def _dom0_access(self) -> Access:
        ssh = self.spec.ssh
        if ssh.key_file is None:
            return Access(user=ssh.user, password=self.spec.pool.password, port=ssh.port)
        try:
            return Access(user=ssh.user, key=Secret(ssh.key_file.read_text()), port=ssh.port)
        except (OSError, UnicodeDecodeError) as error:
            raise ShoalError(
                f"the SSH key {ssh.key_file} cannot be read",
                details=getattr(error, "strerror", None) or "not text",
                where="ssh.key_file",
            ) from error
