"""`shoal host` against the stand-in: three hosts with somebody else's Ceph, so that only the pool has work to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.cli.door import leave
from shoal.cli.program import app
from shoal.clients.pins import Pins
from shoal.clients.xenapi import XenApi
from shoal.facts import Host
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.observe.pool import look_at_pool
from shoal.plan.action import Action, Change
from shoal.steps import host_left, host_mark
from shoal.steps.tools import Tools
from tests.contract.pools import log_in, make_sr, refused, vbd_record, vdi_record, vm_record

SPEC = """\
pool:
  url: {url}
  password: {{env: PASSWORD}}
ssh: {{port: 1}}
hosts: [{{name: xen1}}, {{name: xen2}}, {{name: xen3}}]
ceph:
  image: "ceph:v18.2.7"
  existing:
    fsid: 9aa2cd5d-1f3a-4a45-8f1e-0b3b1e5a0001
    monitors: [127.0.0.1]
    key: {{env: PASSWORD}}
    volume_services: [127.0.0.1]
    authority: authority
srs: [{{name: shared, type: rbd, namespace: xen}}]
"""


class Pool:
    """Its API, and `shoal host` on it."""

    def __init__(self, toolstack: LoopbackPool, spec: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.toolstack, self._spec, self._capture = toolstack, spec, capture
        self.api: Any = log_in(toolstack)
        self.hosts = {self.api.host.get_name_label(ref): ref for ref in self.api.host.get_all()}
        self.sr = make_sr(self.api, toolstack)

    def shoal(self, *words: str) -> tuple[int, str]:
        code = leave(lambda: app([*words, "-f", str(self._spec), "--state", str(self._spec.parent / "state")]))
        seen = self._capture.readouterr()
        return code, seen.out + seen.err

    def start_vm(self, name: str, host: str, **more: Any) -> str:
        vm = str(self.api.VM.create(vm_record(name, **more)))
        self.api.VBD.create(vbd_record(vm, self.api.VDI.create(vdi_record(self.sr))))
        self.api.VM.start_on(vm, self.hosts[host], False, False)
        return vm

    def where(self, vm: str) -> str:
        names = {ref: name for name, ref in self.hosts.items()}
        return str(names.get(self.api.VM.get_resident_on(vm), ""))

    def plugged(self) -> set[str]:
        pbds = [self.api.PBD.get_record(pbd) for pbd in self.api.SR.get_PBDs(self.sr)]
        return {
            name for name, ref in self.hosts.items() for pbd in pbds if pbd["host"] == ref and pbd["currently_attached"]
        }

    def marks(self, host: str) -> set[str]:
        return {key for key in self.api.host.get_other_config(self.hosts[host]) if key.startswith("shoal:")}


@pytest.fixture
def pool(
    three: LoopbackPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Pool:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    for variable, value in (("NO_COLOR", "1"), ("COLUMNS", "200")):
        monkeypatch.setenv(variable, value)
    spec = tmp_path / "shoal.yaml"
    spec.write_text(SPEC.format(url=three.url))
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    return Pool(three, spec, capfd)


def test_a_host_leaves_and_comes_back_with_its_vms(pool: Pool) -> None:
    web = pool.start_vm("web", "xen2")
    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--dry-run")
    assert code == 0 and "leaving VM web" in said, said
    assert (pool.where(web), pool.marks("xen2")) == ("xen2", set())

    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--yes")
    assert code == 0, said
    assert pool.where(web) in ("xen1", "xen3")
    assert pool.plugged() == {"xen1", "xen3"}
    assert pool.api.host.get_enabled(pool.hosts["xen2"]) is False
    assert pool.marks("xen2") == {"shoal:maintenance"}

    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--yes")
    assert code == 0 and "nothing to do" in said, said
    code, said = pool.shoal("plan")
    assert code == 1 and "xen2 is in maintenance since" in said, said
    # A restart of its toolstack does not bring it back into service.
    pool.toolstack.hosts["xen2"].stop()
    pool.toolstack.hosts["xen2"].start()
    assert pool.api.host.get_enabled(pool.hosts["xen2"]) is False

    code, said = pool.shoal("host", "maintenance", "exit", "xen2", "--yes", "--bring-back", "--json")
    answer, _ = json.JSONDecoder().raw_decode(said)
    assert (code, {outcome["state"] for outcome in answer["outcomes"]} <= {"done", "nothing to do"}) == (0, True), said
    assert pool.where(web) == "xen2" and pool.plugged() == {"xen1", "xen2", "xen3"}
    assert pool.api.host.get_enabled(pool.hosts["xen2"]) is True
    assert pool.marks("xen2") == set() and "shoal:home" not in pool.api.VM.get_other_config(web)
    (ref,) = pool.api.pool.get_all()
    assert not [key for key in pool.api.pool.get_other_config(ref) if key.startswith("shoal:")]


async def test_the_mark_says_first_that_its_vms_leave_and_then_that_it_may_be_away(pool: Pool, tmp_path: Path) -> None:
    xenapi = XenApi(pool.toolstack.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json"))
    tools = Tools(SimpleNamespace(xenapi=xenapi), lambda *_: None)  # type: ignore[arg-type]
    marked = Action("host_mark", "xen2", Change.CREATE, "", "xen2", settings={"marked": True, "leaving": True})
    left = Action("host_left", "xen2", Change.UPDATE, "", "xen2")
    try:
        with pytest.raises(ShoalError, match="taken xen2 out of maintenance"):
            await host_left.apply(left, tools)
        for _ in range(2):
            await host_mark.apply(marked, tools)
            assert await host_mark.verify(marked, tools) == "" and await host_left.verify(left, tools) != ""
            assert (await seen(xenapi)).leaving
        for _ in range(2):
            await host_left.apply(left, tools)
            assert await host_left.verify(left, tools) == "" and not (await seen(xenapi)).leaving
        assert (await seen(xenapi)).maintenance.startswith("20")
    finally:
        await xenapi.close()


async def seen(xenapi: XenApi) -> Host:
    found = await look_at_pool(xenapi, {})
    return next(host for host in found.hosts if host.name == "xen2")


def test_vms_that_cannot_move_are_refused_or_shut_down(pool: Pool) -> None:
    stuck = pool.start_vm("stuck", "xen2", blocked_operations={"pool_migrate": "a GPU"})
    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--yes")
    assert code == 1 and "the VM stuck cannot move away from xen2: OPERATION_BLOCKED, a GPU" in said, said
    assert pool.marks("xen2") == set() and pool.api.host.get_enabled(pool.hosts["xen2"]) is True

    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--yes", "--stop-vms")
    assert code == 0 and "IS SHUT DOWN" in said, said
    assert pool.api.VM.get_power_state(stuck) == "Halted"
    code, said = pool.shoal("host", "maintenance", "exit", "xen2", "--yes")
    assert code == 0 and "--bring-back would bring it back" in said, said
    assert pool.api.VM.get_power_state(stuck) == "Halted"


def test_nobody_answers_and_nobody_else_may_be_at_it(pool: Pool) -> None:
    code, said = pool.shoal("host", "maintenance", "enter", "xen2")
    assert code == 1 and "nobody can answer here" in said
    code, said = pool.shoal("host", "reboot")
    assert code == 1 and "--rolling" in said
    (ref,) = pool.api.pool.get_all()
    lock = json.dumps({"token": "t", "since": "2999-01-01T00:00:00+00:00", "who": "ann", "host": "desk"})
    pool.api.pool.add_to_other_config(ref, "shoal:lock", lock)
    code, said = pool.shoal("host", "maintenance", "enter", "xen2", "--yes")
    assert code == 1 and "another apply holds the pool's lock: ann@desk" in said, said
    assert pool.marks("xen2") == set() and pool.api.host.get_enabled(pool.hosts["xen2"]) is True


def test_the_stand_in_reboots_only_what_is_out_of_service(pool: Pool) -> None:
    xen2 = pool.hosts["xen2"]
    web = pool.start_vm("web", "xen2")
    assert pool.api.host.get_vms_which_prevent_evacuation(xen2) == {}
    assert refused(pool.api.host.reboot, xen2) == ["HOST_NOT_DISABLED"]
    pool.api.host.disable(xen2)
    assert refused(pool.api.host.reboot, xen2) == ["HOST_HAS_RESIDENT_VMS", xen2]
    for other in ("xen1", "xen3"):
        pool.api.host.disable(pool.hosts[other])
    assert pool.api.host.get_vms_which_prevent_evacuation(xen2)[web][0] == "HOST_DISABLED"
    pool.api.VM.clean_shutdown(web)
    pool.api.host.reboot(xen2)
    assert pool.toolstack.hosts["xen2"].switched == ["reboot"]
