"""An SR's whole life in a namespace of the pool: every command that the driver declares, with a real volume service, a real
Ceph, and maps that are real clients.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_dom0 import driver
from dom0.tests.ceph_kernel import Agent, CephKernel
from dom0.tests.host import Host
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
NAMESPACE = "driver"
GIB = 1 << 30


class Tenant(Host):
    """A host whose SR lies in the namespace. `done` are the commands that the driver has carried out."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.agent = Agent(service.cluster)
        self.done: set[str] = set()
        super().__init__(folder, service.files, [service.endpoint], kernel=lambda at: CephKernel(at, self.agent))
        self.device_config["namespace"] = NAMESPACE

    def call(self, command: str, vdi: str | None = None, **keys: Any) -> Any:
        answer = super().call(command, vdi, **keys)
        self.done.add(command)
        return answer

    def run_guest(self, disk: str, text: str) -> None:
        """It writes through the map that the driver makes for it."""
        for command in ("vdi_attach", "vdi_activate"):
            self.call(command, disk, args=("true",))
        assert isinstance(self.kernel, CephKernel)
        self.agent.ask("write", token=self.kernel.token(f"vdi-{disk}"), text=text)
        for command in ("vdi_deactivate", "vdi_detach"):
            self.call(command, disk)
        assert self.kernel.mapped() == []

    def write(self, disk: str, text: str) -> None:
        self._past_the_driver(disk, "write", text=text)

    def read(self, disk: str) -> str:
        return str(self._past_the_driver(disk, "read")["text"])

    def _past_the_driver(self, disk: str, do: str, **values: str) -> dict[str, Any]:
        where = {"pool": "rbd", "namespace": NAMESPACE, "image": f"vdi-{disk}", "snap": None}
        answer = self.agent.ask("map", token=do, exclusive=do == "write", **where)
        assert "error" not in answer, answer
        found = self.agent.ask(do, token=do, **values)
        self.agent.ask("unmap", token=do)
        return found


@pytest.fixture
def tenant(service: Service, tmp_path: Path) -> Iterator[Tenant]:
    service.cluster.rbd("namespace", "create", f"rbd/{NAMESPACE}")
    host = Tenant(tmp_path, service)
    yield host
    host.agent.stop()
    host.stop()
    service.sweep("rbd", NAMESPACE)
    service.cluster.rbd("namespace", "remove", f"rbd/{NAMESPACE}")  # which rbd refuses while an image is there


def test_every_declared_command_works_in_a_namespace(tenant: Tenant, service: Service) -> None:
    tenant.call("sr_create", args=("0",))
    tenant.call("sr_attach")
    assert tenant.sr in tenant.call("sr_probe")
    disk = tenant.create()
    tenant.set_cbt(disk, enabled=True)
    tenant.run_guest(disk, "then")
    then = tenant.snapshot(disk)
    tenant.write(disk, "now")
    tenant.call("vdi_resize", disk, args=(str(2 * GIB),))
    now = tenant.snapshot(disk)
    changed = tenant.call("vdi_list_changed_blocks", then, args=(tenant.toolstack.ref(now),))
    assert base64.b64decode(changed)[0] == 0b10000000
    clone = tenant.clone(then)
    tenant.run_guest(clone, "another's")
    tenant.call("vdi_revert", then, args=(tenant.toolstack.ref(disk),))
    assert (tenant.read(disk), tenant.read(clone)) == ("then", "another's")
    forget_at_boot(tenant, clone)
    tenant.set_cbt(disk, enabled=False)
    tenant.destroy_data(now)
    assert service.ask("GET", f"pools/rbd/volumes/{disk}")[0] == 404  # beside the namespace
    come_back(tenant, disk, then, now, clone)
    for vdi in (disk, then, now, clone):
        tenant.call("vdi_delete", vdi)
    tenant.call("sr_detach")
    tenant.call("sr_delete")
    assert tenant.done == {command for commands in driver.CAPABILITIES.values() for command in commands}


def forget_at_boot(tenant: Tenant, disk: str) -> None:
    """Two starts of a VM: what it writes in between is gone with the second."""
    for _ in range(2):
        tenant.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
        assert tenant.read(disk) == "another's"
        tenant.write(disk, "for one run")
        tenant.call("vdi_epoch_end", disk)


def come_back(tenant: Tenant, first: str, *others: str) -> None:
    """All records, after xapi has lost them."""
    known = {record["uuid"]: record["location"] for record in tenant.toolstack.vdis.values()}
    tenant.toolstack.vdis.clear()
    tenant.call("vdi_introduce", vdi_location=known[first], new_uuid=first, vdi_sm_config={})
    tenant.call("sr_scan")
    assert {record["uuid"]: record["location"] for record in tenant.toolstack.vdis.values()} == known
    assert set(known) == {first, *others}
    tenant.toolstack.sr["virtual_allocation"] = "0"
    tenant.call("sr_update")
    assert tenant.toolstack.sr["virtual_allocation"] == str(5 * GIB)  # one of the four has two
