"""The shared SR on a Ceph cluster that Shoal does not keep: nobody is asked, all is in the spec."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients.pins import Pins
from shoal.clients.xenapi import XenApi
from shoal.kit.secret import Secret
from shoal.plan import shared_sr as plan
from shoal.plan.action import Action
from shoal.spec.load import parse
from shoal.spec.model import Spec
from shoal.spec.sources import Surroundings
from shoal.steps import shared_sr
from shoal.steps.tools import Tools
from tests.model.world import make_facts
from tests.unit.clients.toolstack_server import Toolstack, certificate
from tests.unit.steps.test_volume_service_pack import EXISTING

KEY = "AQB-the-kernel-user's-key=="
CONFIG = {
    "monitors": "10.0.0.1:6789,10.0.0.2:6789,10.0.0.3:6789",
    "volumes": "10.0.0.5:7443,10.0.0.6:7443",
    "fsid": "9aa2cd5d-1f3a-4a45-8f1e-0b3b1e5a0001",
    "user": "shoal-xen",
    "pool": "rbd",
    "namespace": "xen",
    "data_pool": "bulk",
}


class Pool:
    """Hosts, an SR once it is made, its PBDs; xapi's part in it."""

    def __init__(self, toolstack: Toolstack) -> None:
        self.srs: list[dict[str, Any]] = []
        self.pbds: dict[str, dict[str, Any]] = {}
        self.driver_of: list[tuple[str, str]] = []
        hosts = {f"host {n}": {"name_label": f"xen{n}"} for n in (1, 2, 3)}
        task = {"status": "success", "result": "<value>sr</value>", "error_info": []}
        toolstack.calls = {
            "session.logout": "",
            "task.get_record": task,
            "task.destroy": "",
            "pool.get_all": ["pool"],
            "pool.get_record": {"master": "host 1"},
            "host.get_by_name_label": lambda name: [ref for ref, row in hosts.items() if row["name_label"] == name],
            "SR.get_by_name_label": lambda _: ["sr"] if self.srs else [],
            "SR.get_record": lambda _: {**self.srs[0], "PBDs": list(self.pbds)},
            "PBD.get_record": lambda ref: self.pbds[ref],
            "Async.SR.create": self.create,
            "PBD.create": self.add,
            "PBD.destroy": lambda ref: self.pbds.pop(ref) and "",
            "PBD.get_device_config": lambda ref: self.pbds[ref]["device_config"],
            "PBD.set_device_config": self.set_config,
            "session.add_to_other_config": self.set_driver,
            "session.remove_from_other_config": self.forget_driver,
            "Async.PBD.plug": lambda ref: self.pbds[ref].update(currently_attached=True) or "task",
            "Async.PBD.unplug": lambda ref: self.pbds[ref].update(currently_attached=False) or "task",
        }

    def create(self, host: str, config: dict[str, str], *more: Any) -> str:
        self.srs.append({"name_label": more[1], "type": more[3], "shared": more[5]})
        self.pbds[self.add({"host": host, "device_config": config})]["currently_attached"] = True
        return "task"

    def set_config(self, ref: str, config: dict[str, str]) -> str:
        assert self.driver_of == [("_sm_session", "sr")]
        self.pbds[ref]["device_config"] = config
        return ""

    def set_driver(self, _session: str, key: str, sr: str) -> str:
        self.driver_of.append((key, sr))
        return ""

    def forget_driver(self, *_: object) -> str:
        self.driver_of.clear()
        return ""

    def add(self, record: dict[str, Any]) -> str:
        config = dict(record["device_config"])
        assert config.pop("password") == KEY
        config["password_secret"] = "a secret's uuid"  # as xapi does
        ref = f"pbd {len(self.pbds) + 1} {record['host']}"
        self.pbds[ref] = {"host": record["host"], "device_config": config, "currently_attached": False}
        return ref


@pytest.fixture(scope="module")
def toolstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolstack]:
    made = Toolstack(certificate(tmp_path_factory.mktemp("certificate"))[0])
    yield made
    made.close()


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    surroundings = Surroundings(folder=tmp_path, environ={"SHOAL_POOL_PASSWORD": KEY})
    return parse(EXISTING.read_text(), tmp_path / "shoal.yaml", surroundings).spec


@pytest.fixture
def pool(toolstack: Toolstack) -> Pool:
    return Pool(toolstack)


@pytest.fixture
async def tools(toolstack: Toolstack, pool: Pool, spec: Spec, tmp_path: Path) -> AsyncIterator[Tools]:
    xenapi = XenApi(toolstack.url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
    connections: Any = SimpleNamespace(xenapi=xenapi, spec=spec)  # without Ceph: asking it would be an error
    yield Tools(connections, lambda *_: None)
    await xenapi.close()


def action(spec: Spec) -> Action:
    (planned,) = plan.plan(spec, make_facts())
    return planned


async def test_every_host_gets_a_pbd_that_knows_all(spec: Spec, pool: Pool, tools: Tools) -> None:
    assert await shared_sr.verify(action(spec), tools) == "there is no such SR"
    await shared_sr.apply(action(spec), tools)
    assert await shared_sr.verify(action(spec), tools) == ""
    assert (pool.srs[0]["name_label"], pool.srs[0]["type"]) == ("shoal", "rbd")
    assert {pbd["host"] for pbd in pool.pbds.values()} == {"host 1", "host 2", "host 3"}
    for pbd in pool.pbds.values():
        assert pbd["device_config"] == {**CONFIG, "password_secret": "a secret's uuid"}
    before = dict(pool.pbds)
    await shared_sr.apply(action(spec), tools)
    assert pool.pbds == before


async def test_a_pbd_in_use_learns_where_the_volume_services_are(spec: Spec, pool: Pool, tools: Tools) -> None:
    await shared_sr.apply(action(spec), tools)
    known = list(pool.pbds)
    for pbd in pool.pbds.values():
        pbd["device_config"] |= {"volumes": "10.0.0.5:7443", "monitors": "10.0.0.9:6789"}
    await shared_sr.apply(action(spec), tools)
    assert list(pool.pbds) == known, "none was unplugged"
    assert await shared_sr.verify(action(spec), tools) == ""
    assert {pbd["device_config"]["password_secret"] for pbd in pool.pbds.values()} == {"a secret's uuid"}
    assert pool.driver_of == []


async def test_a_pbd_with_a_data_pool_that_is_not_wanted_any_more_is_made_anew(
    spec: Spec, pool: Pool, tools: Tools
) -> None:
    await shared_sr.apply(action(spec), tools)
    sr = spec.srs[0].model_copy(update={"data_pool": None})
    wanted = action(spec.model_copy(update={"srs": (sr,)}))
    assert await shared_sr.verify(wanted, tools) == "the PBD of xen1 is not as wanted"
    await shared_sr.apply(wanted, tools)
    assert await shared_sr.verify(wanted, tools) == ""
    assert all("data_pool" not in pbd["device_config"] for pbd in pool.pbds.values())
