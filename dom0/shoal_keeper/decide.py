"""From what is seen to what is done now: at most a few actions, each with its reason. Pure and total.

Every stage adds to one plan and none stops the next, but for standing back: a storage VM that does not start is no
reason to leave an SR unplugged that the other hosts serve.
"""

from typing import List

from . import ceph_troubles
from .state import NULL, Action, Decision, Trouble

ACTIONS_MAX = 4  # VM starts at a time: each reads its disk, and dom0 has few CPUs
SPREAD_PATIENCE_S = 120.0  # so long after boot a VM without affinity waits for more hosts to choose from
STORAGE_VM_PATIENCE_S = 300.0
CEPH_PATIENCE_S = 600.0
PLUG_PATIENCE_S = 300.0


class Plan:
    def __init__(self, seen, memory):
        self.seen = seen
        self.memory = memory
        self.actions = []  # type: List[Action]
        self.notes = []  # type: List[str]
        self.troubles = []  # type: List[Trouble]

    def last_failure(self, key):
        tries = self.memory.tries.get(key)
        return " (%s)" % tries.why if tries else ""

    def attempt(self, action):
        """Do it, unless it is under way already or has failed a short while ago."""
        if action.key in self.seen.under_way:
            self.notes.append("%s is still under way" % describe(action))
            return
        pause_s = self.memory.pause_s(action.key, self.seen.uptime_s)
        if pause_s > 0:
            self.notes.append("%s is tried again later%s" % (describe(action), self.last_failure(action.key)))
            return
        self.actions.append(action)


def decide(seen, memory):
    decision = _stand_back(seen) or _decide(seen, memory)
    if decision.troubles is None:
        return decision
    troubles, unjudged = ceph_troubles.judge(seen)
    return decision._replace(troubles=decision.troubles + troubles, unjudged=unjudged)


def _decide(seen, memory):
    plan = Plan(seen, memory)
    for stage in (_keep_storage_vm, _refresh_monitors, _plug, _start_vms):
        stage(plan)
    if plan.actions:
        why = "; ".join("%s: %s" % (describe(action), action.reason) for action in plan.actions)
        return Decision(tuple(plan.actions), why, tuple(plan.troubles))
    if plan.notes:
        return Decision((), "nothing can be done now: %s" % "; ".join(plan.notes), tuple(plan.troubles))
    return Decision((), "nothing to do: %s" % _summary(seen), tuple(plan.troubles), is_settled=True)


def describe(action):
    words = {
        "start_storage_vm": "start of the storage VM %s",
        "start_vm": "start of the VM %s",
        "refresh": "refresh of the monitors of SR %s",
        "plug": "plug of SR %s",
    }
    return words[action.kind] % action.name


def is_owed(vm, seen, memory):
    """Whether this host's keeper, and no other, owes the VM a start."""
    if not memory.owes_starts or vm.uuid in memory.settled:
        return False
    return vm.affinity == seen.host.ref or vm.is_lost_here or (vm.affinity == NULL and seen.pool.is_master)


def _stand_back(seen):
    if not seen.pool.is_marked:
        return Decision((), "stands back: Shoal has not set up this pool", is_settled=True)
    if seen.pool.ha_enabled:
        why = "xapi's high availability is on, which cannot work with storage that the pool's own VMs serve"
        trouble = Trouble("SHOAL_HA_ENABLED", "The keeper does nothing: %s. Disable it." % why, of_pool=True)
        return Decision((), "stands back: %s" % why, (trouble,) if seen.pool.is_master else (), is_settled=True)
    if seen.host.told_to_rest:
        return Decision((), "stands back: the host carries the mark shoal:maintenance", is_settled=True)
    if seen.pool.apply_at_work:
        return Decision((), "stands back: shoal apply is at work on this pool", None, is_settled=True)
    return None


def _keep_storage_vm(plan):
    vm, host = plan.seen.storage_vm, plan.seen.host
    if vm is None:
        return
    if not vm.is_complete:
        plan.notes.append("the storage VM %s is not complete: shoal apply" % vm.name)
    elif vm.is_busy:
        plan.notes.append("the storage VM %s is being started or stopped" % vm.name)
    elif vm.power_state == "Running":
        if vm.resident_on != host.ref:
            body = "The storage VM %s does not run on %s, where its disks are. Shut it down." % (vm.name, host.name)
            plan.troubles.append(Trouble("SHOAL_STORAGE_VM_ASTRAY", body))
            plan.notes.append("the storage VM %s runs on another host" % vm.name)
    elif vm.power_state != "Halted":
        body = "The storage VM %s is %s. Resume it or shut it down." % (vm.name, vm.power_state)
        plan.troubles.append(Trouble("SHOAL_STORAGE_VM_OFF", body))
        plan.notes.append("the storage VM %s is %s" % (vm.name, vm.power_state))
    elif not host.enabled:
        plan.notes.append("the host is disabled, so its storage VM cannot start")
    elif plan.seen.unplugged:
        for pbd in plan.seen.unplugged:  # xapi itself plugs them, once, while it starts
            plan.attempt(Action("plug", "plug/" + pbd.uuid, pbd.ref, pbd.sr_name, "the storage VM's disks lie on it"))
        _tell_that_it_is_off(plan, vm, "plug/" + plan.seen.unplugged[0].uuid)
    else:
        key = "start_storage_vm/" + vm.uuid
        _tell_that_it_is_off(plan, vm, key)
        plan.attempt(Action("start_storage_vm", key, vm.ref, vm.name, "it is off", place=host.ref, vm=vm.uuid))


def _tell_that_it_is_off(plan, vm, key):
    body = "The storage VM %s does not start on %s%s." % (vm.name, plan.seen.host.name, plan.last_failure(key))
    plan.troubles.append(Trouble("SHOAL_STORAGE_VM_OFF", body, STORAGE_VM_PATIENCE_S))


def _refresh_monitors(plan):
    """The PBDs name the monitors that there are, so that a disk can be mapped while any one of them answers.

    Those of a cluster that is not Shoal's stand in its spec: an administrator says which of them the hosts shall use.
    """
    ceph = plan.seen.ceph
    if ceph.silence or not ceph.monitors:
        return
    for pbd in plan.seen.pbds:
        if pbd.fsid and pbd.fsid != ceph.fsid:
            body = "SR %s is of Ceph cluster %s, and its volume services are of %s." % (
                pbd.sr_name, pbd.fsid, ceph.fsid,
            )  # fmt: skip
            plan.troubles.append(Trouble("SHOAL_OTHER_CLUSTER", body))
            plan.notes.append("SR %s is of another Ceph cluster" % pbd.sr_name)
        elif plan.seen.pool.keeps_ceph and set(pbd.monitors) != set(ceph.monitors):
            reason = "they are now %s" % ", ".join(ceph.monitors)
            key = "refresh/%s" % pbd.uuid
            action = Action("refresh", key, pbd.ref, pbd.sr_name, reason, sr=pbd.sr, monitors=ceph.monitors)
            if plan.memory.has_given_up(key):
                body = "The PBD of SR %s cannot be told the monitors%s." % (pbd.sr_name, plan.last_failure(key))
                plan.troubles.append(Trouble("SHOAL_MONITORS_OUTDATED", body))
            plan.attempt(action)


def _plug(plan):
    ceph = plan.seen.ceph
    unplugged = [pbd for pbd in plan.seen.pbds if not pbd.attached]
    if ceph.silence and plan.seen.pbds:
        body = "No volume service answers %s: %s." % (plan.seen.host.name, ceph.silence)
        plan.troubles.append(Trouble("SHOAL_CEPH_AWAY", body, CEPH_PATIENCE_S))
        plan.notes.append("waits for Ceph (%s)" % ceph.silence)
        return
    refreshed = {action.ref for action in plan.actions if action.kind == "refresh"}
    for pbd in unplugged:
        if pbd.ref in refreshed:
            continue  # the next round plugs it
        if pbd.pool_silence:
            body = "The Ceph pool of SR %s does not answer %s: %s." % (
                pbd.sr_name, plan.seen.host.name, pbd.pool_silence,
            )  # fmt: skip
            plan.troubles.append(Trouble("SHOAL_CEPH_AWAY", body, CEPH_PATIENCE_S))
            plan.notes.append("waits for the pool of SR %s (%s)" % (pbd.sr_name, pbd.pool_silence))
            continue
        key, host = "plug/" + pbd.uuid, plan.seen.host.name
        body = "SR %s cannot be plugged on %s, though Ceph answers%s." % (pbd.sr_name, host, plan.last_failure(key))
        plan.troubles.append(Trouble("SHOAL_SR_UNPLUGGED", body, PLUG_PATIENCE_S))
        plan.attempt(Action("plug", key, pbd.ref, pbd.sr_name, "Ceph answers", sr=pbd.sr))


def _start_vms(plan):
    """Those that are owed a start: the lowest order first, the next when these have started and their delays are over."""
    seen, memory = plan.seen, plan.memory
    owed = [vm for vm in seen.vms if is_owed(vm, seen, memory) and (vm.power_state == "Halted" or vm.is_busy)]
    if not owed:
        return
    if not seen.host.enabled:
        plan.notes.append("the host is disabled, so it starts no VMs")
        return
    for order in sorted({vm.order for vm in owed}):
        delay_s = _remaining_delay_s(plan, order)
        if delay_s > 0:
            plan.notes.append("waits out the start delay of the VMs before order %d" % order)
            return
        holds_up = False
        for vm in sorted((vm for vm in owed if vm.order == order), key=lambda vm: (vm.name, vm.uuid)):
            key = "start_vm/" + vm.uuid
            holds_up = holds_up or not (memory.has_given_up(key) or key in seen.hanging)
            _start(plan, vm, key)
        if holds_up:
            return


def _remaining_delay_s(plan, order):
    """How long the VMs of lower order still want to be alone."""
    ends = [
        plan.memory.settled[vm.uuid] + vm.start_delay_s
        for vm in plan.seen.vms
        if vm.order < order and vm.uuid in plan.memory.settled
    ]
    return max(ends) - plan.seen.uptime_s if ends else 0.0


def _start(plan, vm, key):
    seen = plan.seen
    if plan.memory.has_given_up(key):
        body = "The VM %s is marked to start, and does not%s." % (vm.name, plan.last_failure(key))
        plan.troubles.append(Trouble("SHOAL_VM_NOT_STARTED", body))
    elif key in seen.hanging:
        body = (
            "The VM %s is marked to start, and its start has not ended for five minutes. It is not begun anew, since it may"
            " succeed yet. If it does not: xe-toolstack-restart on the host where it starts." % vm.name
        )
        plan.troubles.append(Trouble("SHOAL_VM_NOT_STARTED", body))
    if vm.is_busy:
        plan.notes.append("the VM %s is being started or stopped" % vm.name)
        return
    pbds = [pbd for pbd in seen.pbds + seen.lvm_pbds if pbd.sr in vm.srs]
    missing = [pbd.sr_name for pbd in pbds if not pbd.attached]
    lacking = sorted({name for pbd in pbds for name in pbd.lacking})
    # What ran here starts here again: so the VMs are spread as they were, and wait for no other host. If it can.
    is_free = vm.affinity == NULL and (not vm.is_lost_here or plan.memory.has_given_up(key))
    if missing:
        plan.notes.append("the VM %s waits for SR %s" % (vm.name, ", ".join(missing)))
    elif is_free and lacking and seen.uptime_s < SPREAD_PATIENCE_S:
        plan.notes.append("the VM %s may run anywhere and waits for %s" % (vm.name, ", ".join(lacking)))
    elif len(plan.actions) + _starts_under_way(seen) >= ACTIONS_MAX:
        plan.notes.append("the VM %s waits for its turn" % vm.name)
    else:
        place = "" if is_free or vm.affinity not in (NULL, seen.host.ref) else seen.host.ref
        reason = "it is marked to start, and its SR is plugged"
        plan.attempt(Action("start_vm", key, vm.ref, vm.name, reason, place=place, vm=vm.uuid))


def _starts_under_way(seen):
    """One that hangs does not count, so that it keeps the place of no other. It stays under way: it may succeed yet."""
    return sum(key.startswith("start_vm/") and key not in seen.hanging for key in seen.under_way)


def _summary(seen):
    parts = []
    if seen.storage_vm is not None:
        parts.append("the storage VM runs")
    if seen.pbds:
        parts.append("plugged: %s" % ", ".join(sorted(pbd.sr_name for pbd in seen.pbds)))
        codes = ", ".join(check.code for check in seen.ceph.checks)
        parts.append("Ceph says %s%s" % (seen.ceph.health, " (%s)" % codes if codes else ""))
    return ", ".join(parts) or "this host has neither a storage VM nor an SR of Shoal's"
