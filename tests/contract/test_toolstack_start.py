"""What is done when toolstacks start: drivers found, PBDs plugged, VMs looked after; and what a restart keeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lab.xapi import power, startup
from lab.xapi.agent import LocalAgent
from lab.xapi.loopback import DEFAULT_PLUGINS, LoopbackPool
from lab.xapi.startup import Heartbeats
from lab.xapi.toolstack import Caller, Context
from lab.xapi.web import Listener, Web
from tests.contract.pools import (
    NULL,
    commands,
    install_driver,
    log_in,
    make_sr,
    open_session,
    refused,
    vbd_record,
    vdi_record,
    vm_record,
)


def types(api: Any) -> set[str]:
    return {row["type"] for row in api.SM.get_all_records().values()}


def test_drivers_are_found_at_start_only_and_only_if_whitelisted(pool: LoopbackPool) -> None:
    api = log_in(pool)
    assert types(api) == {"ext", "udev", "small"}
    (small,) = [row for row in api.SM.get_all_records().values() if row["type"] == "small"]
    assert small["driver_filename"] == "/opt/xensource/sm/SMALLSR"
    assert small["features"]["SR_UPDATE"] == "2" and small["configuration"] == {"path": "the folder"}
    later = pool.master.root / "etc/xapi.conf.d/99-last.conf"
    later.write_text(f"sm-plugins={DEFAULT_PLUGINS}\n")  # the last file replaces the line before
    assert "small" in types(api)
    pool.master.stop()
    pool.master.start()
    api = log_in(pool)
    assert types(api) == {"ext", "udev"}
    assert "small" not in api.SR.get_supported_types()


def test_a_driver_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    pool = LoopbackPool(tmp_path)
    install_driver(pool.master)
    broken = pool.master.root / "opt/xensource/sm/BROKENSR"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    (pool.master.root / "etc/xapi.conf.d/60-broken.conf").write_text("sm-plugins=ext udev small broken\n")
    with pool:
        assert types(log_in(pool)) == {"ext", "udev", "small"}


def test_a_master_knows_its_drivers_before_it_answers_and_a_member_once_it_has_reached_the_master(
    three: LoopbackPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen, known = Web.listen, dict[str, tuple[set[str], set[str]]]()

    def note(web: Web, *where: Any, **more: Any) -> Listener:
        db, drivers = web.toolstack.db, web.local.drivers
        known.setdefault(
            web.local.settings.host, ({db.get("SM", ref, "type") for ref in db.refs("SM")}, set(drivers.paths))
        )
        return listen(web, *where, **more)

    later = three.master.root / "etc/xapi.conf.d/99-last.conf"
    later.write_text("sm-plugins=ext small\n")
    monkeypatch.setattr(Web, "listen", note)
    for name in ("xen1", "xen2"):
        three.hosts[name].stop()
        three.hosts[name].start()
    assert known == {"xen1": ({"ext", "small"}, {"small"}), "xen2": (set(), set())}
    assert set(three.hosts["xen2"].web.local.drivers.paths) == {"small"}


def test_a_start_that_a_busy_dom0_leaves_unanswered_goes_on(
    pool: LoopbackPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, silences = LocalAgent.hello, ["no answer within 15 s", "no answer within 15 s"]

    def hello(agent: LocalAgent) -> dict[str, Any]:
        if silences:
            raise OSError(silences.pop())
        return answer(agent)

    monkeypatch.setattr(LocalAgent, "hello", hello)
    monkeypatch.setattr(startup, "START_AGAIN_S", 0.01)
    (pool.master.root / "var/run").mkdir(parents=True, exist_ok=True)
    pool.master.stop()
    pool.master.start()
    assert not silences
    assert (pool.master.root / "var/run/xapi_init_complete.cookie").exists()


def test_a_restart_keeps_the_pool_but_not_the_sessions(pool: LoopbackPool) -> None:
    session = open_session(pool)
    api = session.xenapi
    sr = make_sr(api, pool)
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(sr))))
    api.VM.start(vm, False, False)
    asked = len(commands(pool.master))
    pool.master.stop()
    pool.master.start()
    assert not pool.master.toolstack.db.exists("session", session.handle)
    api = log_in(pool)
    assert (api.VM.get_power_state(vm), api.PBD.get_currently_attached(api.SR.get_PBDs(sr)[0])) == ("Running", True)
    assert "sr_attach" not in commands(pool.master)[asked:]


def test_a_host_that_has_booted_has_nothing_attached_and_plugs_again(pool: LoopbackPool) -> None:
    api = log_in(pool)
    sr = make_sr(api, pool)
    vm = api.VM.create(vm_record())
    vbd = api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(sr))))
    api.VM.start(vm, False, False)
    boot(pool)
    api = log_in(pool)
    assert (api.VM.get_power_state(vm), api.VBD.get_currently_attached(vbd)) == ("Halted", False)
    assert api.PBD.get_currently_attached(api.SR.get_PBDs(sr)[0]) is True
    assert commands(pool.master).count("sr_attach") == 2


def test_a_pbd_that_cannot_be_plugged_stays_unplugged(pool: LoopbackPool) -> None:
    sr = make_sr(log_in(pool), pool)
    (pool.master.root / "storage").rename(pool.master.root / "gone")
    boot(pool)
    api = log_in(pool)
    assert api.PBD.get_currently_attached(api.SR.get_PBDs(sr)[0]) is False
    (local,) = api.SR.get_by_name_label("Local storage")
    assert api.PBD.get_currently_attached(api.SR.get_PBDs(local)[0]) is True


def test_vms_start_with_their_host_when_the_pool_says_so(pool: LoopbackPool) -> None:
    api = log_in(pool)
    vm = api.VM.create(vm_record(other_config={"auto_poweron": "true"}))
    boot(pool)
    api = log_in(pool)
    assert api.VM.get_power_state(vm) == "Halted"
    (pool_ref,) = api.pool.get_all()
    api.pool.add_to_other_config(pool_ref, "auto_poweron", "true")
    boot(pool)
    assert log_in(pool).VM.get_power_state(vm) == "Running"


def test_a_vm_that_the_pool_has_nowhere_is_found_with_its_disks(three: LoopbackPool) -> None:
    """Another master may go on with a database of before the VM was started."""
    api, other, master = log_in(three), three.hosts["xen2"], three.master
    (host,) = api.host.get_by_name_label("xen2")
    vm = api.VM.create(vm_record())
    vbd = api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(make_sr(api, three)))))
    api.VM.start_on(vm, host, False, False)
    power.set_halted(Context(master.toolstack, Caller("xen1")), vm)
    db = master.toolstack.db
    db.set("VM", vm, scheduled_to_be_resident_on=host)
    db.set("VBD", vbd, currently_attached=True)
    master.stop()
    master.start()
    api = log_in(three)
    assert (api.VM.get_scheduled_to_be_resident_on(vm), api.VBD.get_currently_attached(vbd)) == (NULL, False)
    other.stop()
    other.start()
    assert (api.VM.get_power_state(vm), api.VM.get_resident_on(vm)) == ("Running", host)
    assert (api.VBD.get_currently_attached(vbd), api.VBD.get_device(vbd)) == (True, "xvda")
    api.VM.hard_shutdown(vm)
    assert commands(other)[-3:] == ["vdi_deactivate", "vdi_detach", "vdi_epoch_end"]


def boot(pool: LoopbackPool) -> None:
    """As if the master's host had lost power and booted: no guest runs, the boot id is another."""
    pool.master.stop()
    pool.master.guests.plans.clear()
    proc = pool.master.root / "proc/sys/kernel/random"
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "boot_id").write_text(str(time.monotonic()))
    pool.master.start()


def test_heartbeats_see_hosts_die_and_guests_end(three: LoopbackPool) -> None:
    api = log_in(three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    vm = api.VM.create(vm_record())
    api.VM.start_on(vm, hosts["xen3"], False, False)
    beats = Heartbeats(three.master.toolstack)
    beats.look("xen3", thorough=True)
    assert api.VM.get_power_state(vm) == "Running"
    guest = api.VM_guest_metrics.get_record(api.VM.get_guest_metrics(vm))
    assert guest["networks"] == {"0/ip": "192.0.2.1"}
    three.hosts["xen3"].guests.plans.clear()
    time.sleep(1.1)  # a VM's start and its absence are told apart by whole seconds
    beats.look("xen3", thorough=True)
    assert api.VM.get_power_state(vm) == "Halted"
    three.hosts["xen3"].stop()
    time.sleep(1.1)
    beats.look("xen3", thorough=False)
    metrics = api.host.get_metrics(hosts["xen3"])
    assert api.host_metrics.get_live(metrics) is False
    assert refused(api.VM.start_on, vm, hosts["xen3"], False, False) == ["HOST_NOT_LIVE"]
    assert refused(api.host.get_servertime, hosts["xen3"]) == ["HOST_OFFLINE", hosts["xen3"]]
    assert refused(api.host.declare_dead, hosts["xen2"]) == ["HOST_IS_LIVE", hosts["xen2"]]
    api.host.declare_dead(hosts["xen3"])


def test_plugins(api: Any, pool: LoopbackPool) -> None:
    (host,) = api.host.get_all()
    assert refused(api.host.call_plugin, host, "none", "f", {}) == ["XENAPI_MISSING_PLUGIN", "none"]
    plugin = pool.master.root / "etc/xapi.d/plugins/echo"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(
        "#!/usr/bin/env python3\nimport sys\nfrom xmlrpc.client import dumps, loads\n"
        "(session, args), name = loads(sys.argv[1])\n"
        "answers = {'good': {'Status': 'Success', 'Value': name + args['a']},\n"
        "           'bad': {'Status': 'Failure', 'ErrorDescription': ['WHY', name]}, 'bare': name}\n"
        "print(dumps((answers[args['how']],), methodresponse=True))\n"
    )
    plugin.chmod(0o755)
    assert api.host.call_plugin(host, "echo", "say ", {"how": "good", "a": "hello"}) == "say hello"
    assert refused(api.host.call_plugin, host, "echo", "say", {"how": "bad", "a": ""}) == ["WHY", "say"]
    # A driver's answer is its value, a plugin's is not.
    bare = refused(api.host.call_plugin, host, "echo", "say", {"how": "bare", "a": ""})
    assert bare[:2] == ["XENAPI_PLUGIN_FAILURE", "unexpected XMLRPC result"]
