"""Container keys and the plugin on a pool: keepers as processes, container services as processes, the stand-in between."""

from __future__ import annotations

import contextlib
import json
import time
import xml.dom.minidom
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.keeper_pool import PYTHON, KeeperPool
from tests.ceph.certificates import Authority
from tests.contract.pools import refused
from volumes.tests.container_machine import Machine

LAUNCH = Path(__file__).with_name("launch_plugin.py")
LIVE = ["docker_info", "docker_ps", "docker_version"]


class Containers:
    """A pool whose storage VMs have container services, and whose dom0s have the plugin."""

    def __init__(self, folder: Path, pool: KeeperPool, stack: contextlib.ExitStack) -> None:
        self.pool = pool
        authority = Authority.make()
        self.machines = {}
        for number, (name, host) in enumerate(pool.hosts.items(), 1):
            machine = Machine(folder / f"vm{number}", authority, name, address=f"127.0.0.{number}")
            self.machines[name] = stack.enter_context(machine)
            files = host.folder / "containers"
            files.mkdir()
            authority.write(files / "ca.pem")
            authority.issue(name, files / "client.pem", files / "client.key")
            (host.folder / "containers_port").write_text(str(machine.port))
            (host.folder / "host.json").write_text(json.dumps({"volume_service": f"{machine.address}:7443"}))
            plugin = host.host.root / "etc/xapi.d/plugins/xscontainer"
            plugin.parent.mkdir(parents=True)
            plugin.write_text(f'#!/bin/sh\nexec {PYTHON} -ISB {LAUNCH} {host.folder} "$1"\n')
            plugin.chmod(0o755)

    def vm(self, host: str) -> str:
        return str(self.pool.api.VM.get_by_uuid(self.pool.storage_vms[host]))

    def keys(self, host: str) -> list[str]:
        config = self.pool.api.VM.get_other_config(self.vm(host))
        return sorted(key for key in config if key.startswith(("docker_", "xscontainer")))

    def shown(self, host: str) -> dict[str, str]:
        """Names of containers and their status, as a client reads them."""
        text = self.pool.api.VM.get_other_config(self.vm(host)).get("docker_ps")
        entries = xml.dom.minidom.parseString(text).getElementsByTagName("entry") if text else []
        return {_text(entry, "names"): _text(entry, "status") for entry in entries}

    def short_id(self, host: str, container: str) -> str:
        text = self.pool.api.VM.get_other_config(self.vm(host))["docker_ps"]
        entries = xml.dom.minidom.parseString(text).getElementsByTagName("entry")
        (found,) = [entry for entry in entries if _text(entry, "names") == container]
        return _text(found, "container")

    def call(self, function: str, host: str, container: str, *, via: str = "xen1") -> str:
        arguments = {"vmuuid": self.pool.storage_vms[host], "container": container}
        return str(self.pool.api.host.call_plugin(self.pool.refs[via], "xscontainer", function, arguments))


def _text(entry: xml.dom.minidom.Element, name: str) -> str:
    return "".join(node.data for node in entry.getElementsByTagName(name)[0].childNodes)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Containers]:
    with contextlib.ExitStack() as stack:
        yield Containers(tmp_path, stack.enter_context(KeeperPool(tmp_path / "p")), stack)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Containers]:
    with contextlib.ExitStack() as stack:
        yield Containers(tmp_path, stack.enter_context(KeeperPool(tmp_path / "p", host_count=2)), stack)


def test_keys_follow_what_runs_and_are_written_once(pool: Containers) -> None:
    machine, keeper = pool.machines["xen1"], pool.pool
    keeper.start_keepers()
    keeper.wait(lambda: pool.keys("xen1") == [*LIVE, "xscontainer-monitor"], "the keys")
    assert pool.shown("xen1") == {machine.name(kind): "Up" for kind in machine.units}
    looks = machine.asked.count("GET /info")
    keeper.wait(lambda: machine.asked.count("GET /info") > looks + 2, "more looks")
    assert [line for line in keeper.hosts["xen1"].said() if "writes" in line] == [
        "<6>writes docker_info, docker_ps, docker_version, xscontainer-monitor of shoal-storage-xen1"
    ]
    machine.ask("POST", f"/v1/containers/{machine.name('mgr')}/stop")
    keeper.wait(lambda: pool.shown("xen1").get(machine.name("mgr")) == "Exited (143)", "the news")


def test_of_a_storage_vm_that_is_off_nothing_is_shown(pool: Containers) -> None:
    keeper = pool.pool
    keeper.start_keepers()
    keeper.wait(lambda: pool.keys("xen1") == [*LIVE, "xscontainer-monitor"], "the keys")
    keeper.api.host.disable(keeper.refs["xen1"])
    keeper.api.VM.hard_shutdown(pool.vm("xen1"))
    keeper.wait(lambda: pool.keys("xen1") == ["xscontainer-monitor"], "the keys to go")
    keeper.api.host.enable(keeper.refs["xen1"])
    keeper.wait(lambda: len(pool.keys("xen1")) == 4, "them to be back")


def test_a_service_that_stays_silent_is_told_of_once(pool: Containers) -> None:
    keeper, machine = pool.pool, pool.machines["xen1"]
    keeper.start_keepers()
    keeper.wait(lambda: len(pool.keys("xen1")) == 4, "the keys")
    machine.process.kill()
    keeper.wait(lambda: pool.keys("xen1") == ["xscontainer-monitor"], "the keys to go")
    told = [line for line in keeper.hosts["xen1"].said() if "cannot see the containers of shoal-storage-xen1: 127" in line]
    assert len(told) == 1
    keeper.wait(lambda: "nothing to do" in keeper.hosts["xen1"].said()[-1], "the keeper to go on")


def test_where_xenservers_own_plugin_is_the_keys_are_left_to_it(pool: Containers) -> None:
    keeper = pool.pool
    (keeper.hosts["xen1"].folder / "xscontainer").write_text("#!/usr/bin/python2\n")
    keeper.start_keepers()
    keeper.wait_said("xen1", "leaves the container keys to the xscontainer plugin that is not Shoal's")
    time.sleep(1)
    assert pool.keys("xen1") == []
    assert pool.machines["xen1"].asked == []


def test_the_plugin_does_it_on_the_host_where_the_storage_vm_runs(two: Containers) -> None:
    machine = two.machines["xen2"]
    osd = machine.name("osd")
    assert two.call("restart", "xen2", osd) == "True"
    assert two.shown("xen2")[osd] == "Up"  # no keeper runs: the plugin itself has looked again
    assert two.call("stop", "xen2", two.short_id("xen2", osd)) == "True"
    assert two.shown("xen2")[osd] == "Exited (143)"
    assert two.call("start", "xen2", two.short_id("xen2", osd), via="xen2") == "True"
    assert two.shown("xen2")[osd] == "Up"
    unit = machine.units["osd"]
    assert machine.done() == [f"restart {unit}", f"stop {unit}", f"start {unit}"]
    assert two.machines["xen1"].done() == [] and two.keys("xen1") == []


def test_names_that_are_none_reach_nobody(pool: Containers) -> None:
    for name in ("", "-x", "a;reboot", "a/../b", "a%2fb", "a b", "a\r\nX: y", "x" * 129, "ä"):
        failure = refused(pool.call, "restart", "xen1", name)
        assert failure[0] == "XENAPI_PLUGIN_FAILURE"
        assert failure[3] == "container is not the name or the id of a container"
    assert pool.machines["xen1"].done() == [] and pool.machines["xen1"].asked == []


def test_the_plugin_refuses_everything_else(pool: Containers) -> None:
    osd = pool.machines["xen1"].name("osd")
    assert refused(pool.call, "pause", "xen1", osd) == ["UNKNOWN_XENAPI_PLUGIN_FUNCTION", "pause"]
    assert "there is no container ceph of Ceph's" in refused(pool.call, "stop", "xen1", "ceph")[3]
    ordinary = pool.pool.make_vm("ordinary", disk=False)
    pool.pool.storage_vms["another"] = pool.pool.api.VM.get_uuid(ordinary)
    assert refused(pool.call, "stop", "another", osd)[3] == "ordinary is not a storage VM of Shoal's"
    pool.pool.storage_vms["none"] = "no uuid"
    assert refused(pool.call, "stop", "none", osd)[3] == "vmuuid is not a uuid"
    pool.pool.api.VM.hard_shutdown(pool.vm("xen1"))
    assert refused(pool.call, "stop", "xen1", osd)[3] == "shoal-storage-xen1 does not run"
    assert pool.machines["xen1"].done() == []
