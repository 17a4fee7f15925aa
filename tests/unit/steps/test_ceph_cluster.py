"""No second cluster is made while a storage VM that may have the first does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shoal.clients.ssh import Completed, Unreachable
from shoal.facts import StorageVm
from shoal.plan import ceph_cluster as plan
from shoal.steps import ceph_cluster
from tests.model.world import make_facts, make_spec

SPEC = make_spec()


class Guests:
    """Is the tools, their connections and each storage VM. `silent`: those that do not answer."""

    def __init__(self, *silent: str) -> None:
        self.spec, self.silent, self.ran = SPEC, silent, list[str]()

    @property
    def connections(self) -> Any:
        return self

    async def storage_vm(self, host: str) -> Any:
        if host in self.silent:
            raise Unreachable(f"{host} is still starting")
        return self

    async def read_file(self, _path: str) -> bytes | None:
        return None

    async def write_file(self, path: str, _data: bytes, **_more: Any) -> None:
        self.ran.append(path)
        raise Unreachable("far enough")

    async def run(self, argv: Sequence[str], **_more: Any) -> Completed:
        return Completed("", "", 0)


async def test_a_new_first_host_waits_for_the_storage_vms_that_were_there_before() -> None:
    """As after a cold start, when a new host has a dead one's place at the head of the spec."""
    first, *others = (host.name for host in SPEC.hosts)
    vms = tuple(StorageVm(host, f"uuid-{host}", "Halted", "", "", {}) for host in others)
    facts = replace(make_facts(), ceph=None, storage_vms=vms)
    (action,) = plan.plan(SPEC, facts)
    assert action.needs == {f"storage_vm_ready/{host}" for host in (first, *others)}
    tools: Any = Guests(others[-1])
    with pytest.raises(Unreachable, match="is still starting"):
        await ceph_cluster.apply(action, tools)
    assert tools.ran == []


async def test_one_that_is_being_made_is_not_waited_for() -> None:
    facts = replace(make_facts(), ceph=None, storage_vms=())
    first, *others = (host.name for host in SPEC.hosts)
    (action,) = plan.plan(SPEC, facts)
    assert action.needs == {f"storage_vm_ready/{first}"}
    tools: Any = Guests(*others)
    with pytest.raises(Unreachable, match="far enough"):
        await ceph_cluster.apply(action, tools)
