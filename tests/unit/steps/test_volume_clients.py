"""Whose certificate a dom0 has, and whom the volume services take: plans and steps, on files of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients.ssh import Unreachable
from shoal.kit.certificate_name import common_name
from shoal.kit.shipped import ShippedFile
from shoal.plan import volume_client as planned_client
from shoal.plan import volume_clients as planned_clients
from shoal.plan import volume_service as planned_service
from shoal.plan.action import Action, Change
from shoal.plan.planner import make_plan
from shoal.spec.names import CLIENTS_FILE, client_name
from shoal.steps import certificates, volume_client, volume_clients
from tests.model.world import World, make_facts, make_spec

UUID = "6a0a3c5e-52a1-4d0e-9d6f-0c5a10ab0001"
CA = certificates.make_authority()


class Machine:
    """Files of one machine, as steps see them over SSH."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def read_files(self, paths: Sequence[str]) -> list[bytes | None]:
        return [self.files.get(path) for path in paths]

    async def read_file(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def write_files(self, files: Sequence[ShippedFile]) -> None:
        self.files |= {file.path: file.data for file in files}

    async def write_file(self, path: str, data: bytes) -> None:
        self.files[path] = data


def tools(machines: dict[str, Machine]) -> Any:
    async def give(host: str) -> Machine:
        if host not in machines:
            raise Unreachable(f"{host} does not answer")
        return machines[host]

    made = SimpleNamespace(dom0=give, storage_vm=give, kept={"authority": CA}, progress=lambda *_: None)
    made.locks = {"authority": _Free()}
    return made


class _Free:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def has_certificate_of(name: str) -> Machine:
    """With a certificate by the right authority."""
    machine, pair = Machine(), certificates.make_client(CA, name)
    texts = {volume_client.CA: CA.certificate, volume_client.CERTIFICATE: pair.certificate}
    machine.files = {path: text.encode() for path, text in {**texts, volume_client.KEY: pair.key.reveal()}.items()}
    return machine


async def test_a_host_with_another_hosts_certificate_gets_its_own() -> None:
    own, other = client_name("xen1", UUID), client_name("xen2", UUID)
    action = Action("volume_client", "xen1", Change.UPDATE, "", "xen1", settings={"service": "a:1", "client": own})
    dom0 = has_certificate_of(other)
    dom0.files[volume_client.HOST_FILE] = b'{"volume_service": "a:1"}\n'
    assert "no client certificate of its own" in await volume_client.verify(action, tools({"xen1": dom0}))
    await volume_client.apply(action, tools({"xen1": dom0}))
    assert await volume_client.verify(action, tools({"xen1": dom0})) == ""
    made = dom0.files[volume_client.CERTIFICATE]
    assert common_name(made.decode()) == own
    await volume_client.apply(action, tools({"xen1": dom0}))
    assert dom0.files[volume_client.CERTIFICATE] == made, "one that is right stays"


async def test_a_storage_vm_that_is_away_keeps_no_other_from_its_list() -> None:
    hosts, clients = ("xen1", "xen2", "xen3"), ("xen1 a", "xen3 c")
    action = Action("volume_clients", "cluster", Change.UPDATE, "", settings={"hosts": hosts, "clients": clients})
    machines = {host: Machine() for host in ("xen1", "xen3")}
    with pytest.raises(Unreachable, match="xen2"):
        await volume_clients.apply(action, tools(machines))
    for machine in machines.values():
        assert json.loads(machine.files[CLIENTS_FILE]) == list(clients)
    machines["xen2"] = Machine()
    assert "storage VM of xen2" in await volume_clients.verify(action, tools(machines))
    await volume_clients.apply(action, tools(machines))
    assert await volume_clients.verify(action, tools(machines)) == ""


def working_pool() -> World:
    world = World(make_spec(), make_facts())
    for action in make_plan(world.spec, world.facts).changes:
        world.do(action)
    return world


def test_the_plan_sees_a_certificate_of_another_host_and_of_another_installation() -> None:
    world = working_pool()
    seen = world.facts.host("xen2")
    assert seen is not None and seen.dom0 is not None
    stolen = replace(seen, dom0=replace(seen.dom0, kit=replace(seen.dom0.kit, client="xen1 host-xen1")))
    for changed in (stolen, replace(seen, uuid="host-made-anew")):
        hosts = tuple(changed if host.name == "xen2" else host for host in world.facts.hosts)
        _, action, _ = planned_client.plan(world.spec, replace(world.facts, hosts=hosts))
        assert (action.change, action.settings["client"]) == (Change.UPDATE, f"xen2 {changed.uuid}")
        assert action.reason.startswith("its certificate is that of ")


def test_the_plan_takes_a_stranger_off_the_lists_and_misses_nobody() -> None:
    world = working_pool()
    (action,) = planned_clients.plan(world.spec, world.facts)
    assert action.change is Change.NONE
    wanted = action.settings["clients"]
    assert wanted == ("xen1 host-xen1", "xen2 host-xen2", "xen3 host-xen3")
    for known, reason in (
        ((*wanted, "xen9 gone"), "the volume service of xen3 still takes xen9 gone"),
        (wanted[:2], "the volume service of xen3 does not take xen3 host-xen3"),
        (None, "the storage VM of xen3 has no list"),
    ):
        (*others, last) = world.facts.storage_vms
        assert last.guest is not None
        vms = (*others, replace(last, guest=replace(last.guest, volume_clients=known)))
        (action,) = planned_clients.plan(world.spec, replace(world.facts, storage_vms=vms))
        assert (action.change is Change.NONE, action.reason) == (False, reason)


def test_the_plan_sees_a_volume_service_of_another_authority() -> None:
    world = working_pool()
    assert world.facts.ceph is not None
    ceph = replace(world.facts.ceph, certificate_authority="another")
    changes = make_plan(world.spec, replace(world.facts, ceph=ceph)).changes
    assert [action.id for action in changes] == [
        *(f"volume_client/xen{n}" for n in (1, 2, 3)),
        *(f"volume_service/xen{n}" for n in (1, 2, 3)),
        "volume_services/cluster",
    ]
    hidden = replace(ceph, unreachable="no quorum")
    plan = planned_service.plan(world.spec, replace(world.facts, ceph=hidden))
    assert [action.change for action in plan] == [Change.NONE] * 3


def test_a_name_fits_a_certificate_whole() -> None:
    names = [client_name("x" * 80, uuid) for uuid in (UUID, UUID.replace("6", "7"), "")]
    assert [len(name) for name in names] == [64, 64, 64] and len(set(names)) == 3
    assert names[0].endswith(UUID)
    assert common_name(certificates.make_client(CA, names[0]).certificate) == names[0]
    assert common_name("no certificate") == common_name("") == ""


def test_the_list_is_beside_the_volume_services_settings() -> None:
    from shoal.steps.volume_service import FOLDER, write_config

    assert json.loads(write_config("192.0.2.1", 7443))["clients"] == CLIENTS_FILE
    assert Path(CLIENTS_FILE).parent == Path(FOLDER)
