"""One run: a witness on each host, faults from calm to calm, and what was found. Must not know single faults."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from lab import witness_vm
from lab.command import CommandError
from shoal.kit.errors import ShoalError
from shoal.spec.names import storage_vm_name
from tests.chaos import measure, osds, proof
from tests.chaos.faults import Fault
from tests.chaos.ground import Ground
from tests.chaos.judge import accuse
from tests.chaos.listen import Listener
from tests.chaos.places import PlaceWatch
from tests.chaos.schedule import Event

# What takes longer has not come back by itself. cephadm looks at its daemons every ten minutes, and until then warns of
# one that it has seen dead.
WHOLE_WITHIN_S = 720.0
FRESH_S = 15.0  # a VM that was heard within these writes
LOOK_EVERY_S = 3.0
SAY_EVERY_S = 30.0  # what is waited for
CALM_START = "calm vm_start_s"  # what a VM's start costs where nothing is the matter
CALM_S = 15.0  # between two faults, to see that all write
TROUBLE = (CommandError, ShoalError, *witness_vm.TROUBLE)


@dataclass
class Run:
    """One run, and what it has found."""

    ground: Ground
    listener: Listener
    vms: dict[str, str]  # name → ref
    began_s: float = field(default_factory=time.monotonic)
    events: list[dict[str, object]] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accusations: list[str] = field(default_factory=list)
    false_alarms: int = 0
    is_broken: bool = False  # it did not come back, and nothing more is to be learned

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began_s:7.1f} s] {text}", file=sys.stderr, flush=True)

    def blame(self, text: str) -> None:
        if text not in self.accusations:
            self.accusations.append(text)
            self.say(f"WRONG: {text}")


def strike(run: Run, fault: Fault, event: Event, *, label: str = "") -> None:
    """One fault from calm to calm."""
    name = label or event.fault
    spread(run)
    if run.is_broken:
        return
    time.sleep(CALM_S)
    host = run.ground.master() if fault.on_master else event.host
    case = measure.Case(fault, host, find_places(run))
    before = look_at_osds(run)
    run.say(f"{event.number}: {name} on {host}")
    with PlaceWatch(run.ground.lab, run.vms, shunned="" if fault.takes_all else host) as watch:
        run.ground.struck_s, case.began_s, began_at = 0.0, time.monotonic(), time.time()
        attempt(run, f"{name} on {host} could not be done", lambda: fault.begin(run.ground, host))
        case.struck_s = run.ground.struck_s or time.monotonic()
        time.sleep(event.lasts_s)
        attempt(run, f"{name} on {host} could not be ended", lambda: fault.end(run.ground, host))
        case.ended_s = time.monotonic()
        run.is_broken = not wait_until_whole(run, f"after {name} on {host}")
        case.whole_s = time.monotonic()
    case.up_s = run.ground.up_s if fault.takes_all else 0.0
    found = measure.take(case, run.listener.heard(), watch.seen())
    after = {} if run.is_broken else look_at_osds(run)
    alarms = osds.false_alarms(before, after, may_end(run, fault, host)) if after else []
    run.false_alarms += len(alarms)
    note(run, {"number": event.number, "fault": name, "host": host, "false_alarms": alarms}, found)
    keep_sentences(run, f"{event.number}-{name}".replace(" ", "-"), began_at)
    judge(run)


def may_end(run: Run, fault: Fault, host: str) -> set[str]:
    """The machines whose OSDs the fault may have ended."""
    names = [each.name for each in run.ground.lab.hosts] if fault.takes_all else [host]
    return set() if fault.spares_osds else {storage_vm_name(name) for name in names}


def note(run: Run, event: dict[str, object], found: dict[str, float | None]) -> None:
    for name, value in found.items():
        if value is not None:
            run.figures[f"{event['fault']} {name}"].append(value)
    run.events.append({**event, **found})
    run.say(f"{event['number']}: {json.dumps(found)}, false alarms: {event['false_alarms'] or 'none'}")


def keep_sentences(run: Run, name: str, since: float) -> None:
    """What the keepers said meanwhile, into files of the lab's: a crash takes along what its host has not synced."""
    folder = run.ground.lab.dir / "chaos"
    folder.mkdir(exist_ok=True)
    argv = (
        "journalctl",
        "--no-pager",
        "--output",
        "short-precise",
        "--since",
        f"@{since:.0f}",
        "--unit",
        "shoal-keeper",
    )
    for host in run.ground.lab.hosts:
        try:
            (folder / f"{name}-{host.name}.log").write_text(run.ground.dom0(host.name, *argv))
        except CommandError as error:
            run.say(f"{host.name} does not tell what its keeper said: {error}")


def judge(run: Run) -> None:
    """What the witnesses have said; and once all is whole, what is on their disks."""
    for crime in accuse(run.listener.heard()):
        run.blame(crime)
    if not run.is_broken:
        attempt(run, "the disks could not be read", lambda: read_disks(run))


def read_disks(run: Run) -> None:
    acked = proof.acknowledged(run.listener.heard())
    for crime in proof.read(run.ground, run.vms, acked):
        run.blame(crime)


def attempt(run: Run, what: str, do: Callable[[], object]) -> None:
    try:
        do()
    except TROUBLE as error:
        run.blame(f"{what}: {error}")


def spread(run: Run) -> None:
    """A witness on every host again: after a failover they stay where they were started."""
    try:
        plan = moves(find_places(run), [host.name for host in run.ground.lab.hosts])
        session = run.ground.session()
        for vm, host in plan.items():
            session.call("VM.hard_shutdown", run.vms[vm])
            run.figures[CALM_START].append(round(witness_vm.start(session, run.vms[vm], host), 1))
    except TROUBLE as error:
        run.blame(f"the witnesses could not be spread over the hosts: {error}")
        run.is_broken = True
        return
    if plan:
        moved = ", ".join(f"{vm} to {host}" for vm, host in plan.items())
        run.say(f"moved {moved}")
        run.is_broken = not wait_until_whole(run, f"after a move of {moved}")


def moves(where: dict[str, str], hosts: list[str]) -> dict[str, str]:
    """VMs of hosts that have more than one, to hosts that have none."""
    free = [host for host in hosts if host not in where.values()]
    spare = [vm for vm, host in where.items() if vm != min(one for one, other in where.items() if other == host)]
    return dict(zip(spare, free, strict=False))


def find_places(run: Run) -> dict[str, str]:
    """The host on which each VM runs, as the pool says; "" for none."""
    session = run.ground.session()
    names = {ref: host["name_label"] for ref, host in session.call("host.get_all_records").items()}
    return {vm: names.get(session.call("VM.get_resident_on", ref), "") for vm, ref in run.vms.items()}


def look_at_osds(run: Run) -> dict[str, dict[int, int]]:
    """Machine → OSD → since which map it is up; nothing if Ceph does not say."""
    try:
        return run.ground.osds()
    except TROUBLE as error:
        run.blame(f"Ceph could not be asked for its OSDs: {error}")
        return {}


def wait_until_whole(run: Run, when: str, *, within_s: float = WHOLE_WITHIN_S) -> bool:
    """Every VM writes, every SR is plugged, Ceph is clean: `shoal status` says so, and the witnesses do."""
    said_s = time.monotonic()
    deadline_s, lack = said_s + within_s, "nothing seen"
    while time.monotonic() < deadline_s:
        lack = look_for_lacks(run)
        if not lack:
            return True
        if time.monotonic() >= said_s + SAY_EVERY_S:
            said_s = time.monotonic()
            run.say(f"{when}, waits on: {lack}")
        time.sleep(LOOK_EVERY_S)
    run.blame(f"not whole again within {within_s:g} s {when}: {lack}")
    return False


def look_for_lacks(run: Run) -> str:
    fresh_s = time.monotonic() - FRESH_S
    writing = {one.vm for one in run.listener.heard() if one.word == "ack" and one.at_s > fresh_s and not one.late}
    unheard = run.listener.unheard()
    if silent := sorted(set(run.vms) - writing):
        return f"no record of {', '.join(silent)}" + (f" ({unheard})" if unheard else "")
    try:
        done = run.ground.shoal("status", timeout_s=180, check=False)
    except CommandError as error:
        return str(error)
    return "" if done.code == 0 else (done.stdout + done.stderr)[-600:]
