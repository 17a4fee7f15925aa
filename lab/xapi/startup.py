"""What happens when toolstacks start and while they run: a host's arrival, its PBDs, its VMs, its heartbeat.

A member's process tells the master that it has started; the master does the rest, in xapi's order: SM records (its own
before it answers anybody), PBDs one by one, VM power states, autostart. Nothing is tried again later: that is the
pool's own business, as on real hosts.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from typing import Any

from lab.xapi import attached, power
from lab.xapi.classes import pbd as pbds
from lab.xapi.classes.host import is_disabled_by_hand, remember_disabled
from lab.xapi.clock import now
from lab.xapi.drivers import Drivers
from lab.xapi.failure import Failure
from lab.xapi.model import NULL
from lab.xapi.seed import join
from lab.xapi.toolstack import Caller, Context, Toolstack

HELLO_TIMEOUT_S = 180.0
START_AGAIN_S = 2.0
PULSE_TIMEOUT_S = 20.0
THOROUGH_TIMEOUT_S = 120.0
PULSE_EVERY_S = 5.0
THOROUGH_EVERY = 4  # pulses: looking into Xen costs an emulated dom0 a second

log = logging.getLogger(__name__)


def host_started(toolstack: Toolstack, name: str) -> None:
    """A host's toolstack has started, the master's own included. One that is none of the pool's joins it.

    What a busy dom0 leaves unanswered is asked again: on a real host this is the host's own process, and it is not
    given up.
    """
    is_newest = toolstack.begin_start(name)
    join(toolstack.db, toolstack.settings.peers[name])
    host = toolstack.host_ref(name)
    metrics = toolstack.db.get("host", host, "metrics")
    toolstack.db.set("host_metrics", metrics, live=True, last_updated=now())
    while is_newest() and toolstack.db.get("host_metrics", metrics, "live"):
        try:
            _start(toolstack, name, host)
        except (Failure, OSError) as failure:
            log.error("the start of %s stopped half-way: %s", name, failure)
            time.sleep(START_AGAIN_S)
        else:
            return


def _start(toolstack: Toolstack, name: str, host: str) -> None:
    context = Context(toolstack, Caller(name, is_local=True))
    hello = context.agent(host).call("hello", HELLO_TIMEOUT_S)
    _record_drivers(toolstack, name, hello["drivers"])
    booted = _forget_attachments(context, host, hello["boot"])
    attached.release_leftovers(context, host, booted=booted)
    _start_host(context, host, hello["running"], booted=booted)
    context.agent(host).call("mark_started", PULSE_TIMEOUT_S)


def _start_host(context: Context, host: str, running: dict[str, int], *, booted: bool) -> None:
    resynchronise_vms(context, host, running)
    _create_missing_pbds(context, host)
    for pbd in context.db.where("PBD", host=host):
        try:
            pbds.plug(context, pbd)
        except Failure as failure:
            log.error("PBD %s could not be plugged: %s", pbd, failure)
    if booted or not is_disabled_by_hand(context, host):
        remember_disabled(context, host, by_hand=False)
        context.db.set("host", host, enabled=True)
    if context.db.get("pool", context.db.only("pool"), "other_config").get("auto_poweron") == "true":
        autostart_vms(context)


def _forget_attachments(context: Context, host: str, boot: str) -> bool:
    """A host that has booted since has nothing attached; a restart of the toolstack alone leaves all as it was."""
    other = context.db.get("host", host, "other_config")
    if other.get("lab-boot-id") == boot:
        return False
    context.db.set("host", host, other_config={**other, "lab-boot-id": boot})
    for pbd in context.db.where("PBD", host=host):
        context.db.set("PBD", pbd, currently_attached=False)
    return True


def _create_missing_pbds(context: Context, host: str) -> None:
    """Every host has a PBD of every shared SR: copied from the master's."""
    master = context.db.get("pool", context.db.only("pool"), "master")
    for sr in context.db.where("SR", shared=True):
        if context.db.where("PBD", SR=sr, host=host):
            continue
        for model in context.db.where("PBD", SR=sr, host=master):
            config = context.db.get("PBD", model, "device_config")
            pbds.create(context, {"host": host, "SR": sr, "device_config": config, "other_config": {}})


def resynchronise_vms(context: Context, host: str, running: dict[str, int]) -> None:
    """VMs that the pool thinks run on this host and that do not, are off; those that do, run."""
    dom0 = context.db.get("host", host, "control_domain")
    for vm in set(context.db.where("VM", resident_on=host)) - {dom0}:
        if context.db.get("VM", vm, "uuid") not in running:
            power.set_halted(context, vm)
        elif context.db.get("VM", vm, "current_operations"):
            context.db.set("VM", vm, current_operations={})
    for own, domain in running.items():
        for vm in context.db.where("VM", uuid=own):
            if context.db.get("VM", vm, "resident_on") == NULL:
                power.set_found(context, vm, host, domain)


def autostart_vms(context: Context) -> None:
    """As xapi-autostart-vms does on every host that boots: each in turn, errors ignored, no second try."""
    for vm in context.db.where("VM", power_state="Halted", is_a_template=False):
        if context.db.get("VM", vm, "other_config").get("auto_poweron") == "true":
            try:
                power.start(context, vm, None)
            except Failure as failure:
                log.warning("VM %s was not started: %s", vm, failure)


def register_drivers(toolstack: Toolstack, drivers: Drivers) -> None:
    """Of a master, before it answers anybody. Who asks it for something has never to wait for its drivers.

    So xapi has it, in `server_init` of ocaml/xapi/xapi.ml: "Registering SMAPIv1 plugins" (`Sm.register`, in
    ocaml/xapi/sm.ml), on a master only, comes before "Listening unix socket". The SM records follow with the database
    (`update_env`, ocaml/xapi/dbsync_master.ml), still before "bringing up management interface", with which it answers
    on the network.
    A member answers first, and registers its own once it has reached the master: here `_start` does it.
    """
    try:
        _record_drivers(toolstack, toolstack.settings.host, drivers.discover())
    except OSError as error:  # `host_started` asks a busy dom0 again
        log.error("the drivers of %s are not known yet: %s", toolstack.settings.host, error)


def _record_drivers(toolstack: Toolstack, name: str, drivers: dict[str, dict[str, Any]]) -> None:
    """SM records are the pool's; the master's drivers make them, a member's only add what no record has yet."""
    db = toolstack.db
    known = {db.get("SM", ref, "type"): ref for ref in db.refs("SM")}
    for sr_type, info in drivers.items():
        values = _sm_record(sr_type, info)
        if sr_type not in known:
            db.create("SM", values)
        elif name == toolstack.settings.master:
            db.set("SM", known[sr_type], **values)
    if name == toolstack.settings.master:
        for sr_type in known.keys() - drivers.keys():
            if not db.where("SR", type=sr_type):
                db.destroy("SM", known[sr_type])


def _sm_record(sr_type: str, info: dict[str, Any]) -> dict[str, Any]:
    features = {}
    for capability in info["capabilities"]:
        name, _, version = str(capability).partition("/")
        features[name] = int(version or 1)
    return {
        "name_label": info["name"],
        "name_description": info["description"],
        "type": sr_type,
        "vendor": info["vendor"],
        "copyright": info["copyright"],
        "version": info["driver_version"],
        "required_api_version": info["required_api_version"],
        "capabilities": list(features),
        "features": features,
        "configuration": {item["key"]: item["description"] for item in info["configuration"]},
        "driver_filename": info["driver_filename"],
    }


def take_office(toolstack: Toolstack) -> None:
    """The database may be of another master's time."""
    pool, own = toolstack.db.only("pool"), toolstack.host_ref(toolstack.settings.host)
    if toolstack.db.get("pool", pool, "master") != own:
        toolstack.db.set("pool", pool, master=own)
    forget_operations(toolstack)


def forget_operations(toolstack: Toolstack) -> None:
    """What was under way when the master's process ended is not under way any more."""
    for kind in ("SR", "VDI", "VBD", "VM", "host"):
        for ref in toolstack.db.refs(kind):
            if toolstack.db.get(kind, ref, "current_operations"):
                toolstack.db.set(kind, ref, current_operations={})
    for vm in toolstack.db.refs("VM"):
        if toolstack.db.get("VM", vm, "scheduled_to_be_resident_on") != NULL:
            toolstack.db.set("VM", vm, scheduled_to_be_resident_on=NULL)
        if toolstack.db.get("VM", vm, "power_state") == "Halted":  # it may have been about to start
            for vbd in toolstack.db.get("VM", vm, "VBDs"):
                if toolstack.db.get("VBD", vbd, "currently_attached"):
                    toolstack.db.set("VBD", vbd, currently_attached=False)


class Heartbeats:
    """Asks every host, every few seconds, whether it lives and which VMs run. One thread a host."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._last_seen = dict.fromkeys(toolstack.settings.peers, time.monotonic())

    def start(self) -> None:
        for name in self._toolstack.settings.peers:
            threading.Thread(target=self._watch, args=(name,), name=f"heartbeat {name}", daemon=True).start()

    def _watch(self, name: str) -> None:
        pause = threading.Event()
        count = 0
        while not pause.wait(PULSE_EVERY_S):
            count += 1
            try:
                self.look(name, thorough=count % THOROUGH_EVERY == 0)
            except Failure as failure:
                log.warning("heartbeat of %s: %s", name, failure)

    def look(self, name: str, *, thorough: bool) -> None:
        if not self._toolstack.db.where("host", hostname=name):
            return  # it has not joined yet, or was ejected
        host, began = self._toolstack.host_ref(name), now()
        metrics = self._toolstack.db.get("host", host, "metrics")
        try:
            pulse = self._ask(name, PULSE_TIMEOUT_S, thorough=False)
        except (OSError, http.client.HTTPException):
            silent_s = time.monotonic() - self._last_seen[name]
            is_live = self._toolstack.db.get("host_metrics", metrics, "live")
            if is_live and silent_s > self._toolstack.settings.dead_after_s:
                log.warning("%s is taken for dead", name)
                self._toolstack.db.set("host_metrics", metrics, live=False)
            return
        self._last_seen[name] = time.monotonic()
        free = power.free_memory(Context(self._toolstack, Caller(name)), host)
        self._toolstack.db.set("host_metrics", metrics, live=True, last_updated=now(), memory_free=free)
        if thorough and self._has_pv_guests(host):
            try:  # a slow answer from Xen is no sign of death
                pulse = self._ask(name, THOROUGH_TIMEOUT_S, thorough=True)
            except (OSError, http.client.HTTPException) as error:
                log.warning("%s does not say which guests run: %s", name, error)
                return
        notice_vms(self._toolstack, host, {**pulse, "began": began}, thorough=thorough)

    def _ask(self, name: str, timeout_s: float, *, thorough: bool) -> dict[str, Any]:
        is_here = name == self._toolstack.settings.host
        agent = self._toolstack.local if is_here else self._toolstack.remotes[name]
        return dict(agent.call("pulse", timeout_s, thorough=thorough))

    def _has_pv_guests(self, host: str) -> bool:
        db = self._toolstack.db
        rows = [db.row("VM", vm) for vm in db.get("host", host, "resident_VMs")]
        return any(not power.is_hvm(row) and not row["is_control_domain"] for row in rows)


def notice_vms(toolstack: Toolstack, host: str, pulse: dict[str, Any], *, thorough: bool) -> None:
    """VMs that have ended by themselves are off; what guests say of their addresses is recorded."""
    db = toolstack.db
    context = Context(toolstack, Caller(toolstack.settings.host))
    for vm in set(db.where("VM", resident_on=host)) - {db.get("host", host, "control_domain")}:
        row = db.row("VM", vm)
        if row["current_operations"] or row["power_state"] != "Running":
            continue
        if row["uuid"] not in pulse["running"]:
            started = db.get("VM_metrics", row["metrics"], "start_time")
            # One that was started while the host was asked may be missing from its answer.
            if started < pulse["began"] and (thorough or power.is_hvm(row)):
                log.info("VM %s has ended by itself", row["uuid"])
                power.release(context, vm, host)
        elif row["uuid"] in pulse["networks"]:
            _record_networks(context, vm, pulse["networks"][row["uuid"]])


def _record_networks(context: Context, vm: str, networks: dict[str, str]) -> None:
    guest = context.db.get("VM", vm, "guest_metrics")
    if guest == NULL:
        guest = context.db.create("VM_guest_metrics", {"live": True, "PV_drivers_detected": True})
        context.db.set("VM", vm, guest_metrics=guest)
    if context.db.get("VM_guest_metrics", guest, "networks") != networks:
        context.db.set("VM_guest_metrics", guest, networks=networks, last_updated=now())
