"""Carries out what failover decided, one step at a time. Each may be repeated; what somebody else did first is done."""

import time

from . import domains, failover, tasks
from .act import BEATEN, HANGS_S
from .failover import CLAIM_MARK
from .state import NULL
from .toolstack import Refused

STARTS_MAX = 4


class Actor:
    """`starts` are the tasks that start VMs: uuid → (task, place), and those that declare one off, with no place.

    They go on when the keeper ends. A start that hangs hinders neither other VMs nor other places, but its own VM is not
    started elsewhere: see `hanging`.
    """

    def __init__(self, call, services):
        self._call = call
        self._services = services
        self.starts = {}
        self._begun_at = {}

    def perform(self, step, roster):
        """What was done, in a few words; "" when nothing was."""
        kind = step.kind
        if kind == failover.TAKE_LOCK:
            self._services.take_lock(roster.pools[0], "failover-" + step.about, roster.own)
            return ""  # the next look shows who has it
        if kind == failover.FENCE:
            self._services.fence(roster.pools[0], step.addresses)
            return "fenced %s of host %s" % (", ".join(sorted(step.addresses)), _name(roster, step.about))
        if kind in (failover.STOP_OWN, failover.STOP_STRAY):
            return self._stop(step.vm)
        ref = self._call("VM.get_by_uuid", step.vm)
        name = self._call("VM.get_name_label", ref)
        if kind in (failover.CLAIM, failover.TAKE_OVER):
            return "claimed the VM %s" % name if self._claim(step, ref, roster.own) else ""
        if self._call("VM.get_other_config", ref).get(CLAIM_MARK) != roster.own:
            return ""
        if kind == failover.RELEASE:
            self._call("VM.remove_from_other_config", ref, CLAIM_MARK)
            return "let go of the VM %s" % name
        if kind == failover.RESET:
            return "declares the VM %s off" % name if self._reset(step, ref, roster) else ""
        return self._start(step, ref, name, roster)

    def collect(self):
        """Of the tasks that have ended: (uuid of the VM, place, why it failed or "")."""
        ended = []
        for vm, (task, place) in list(self.starts.items()):
            failure = tasks.look(self._call, task)
            if failure is None:
                continue
            del self.starts[vm]
            if failure is tasks.FORGOTTEN:
                continue  # the next look shows what became of it
            ended.append((vm, place, "" if failure and failure[0] in BEATEN else tasks.describe(failure)))
        return ended

    def hanging(self):
        """Starts that have not ended for so long: VM → place.

        Each may succeed yet, while the record still says Halted. So its VM keeps its task, and is left alone until that has
        ended; xapi, too, refuses a second start while the first is in progress, whoever asks. Then the record says Running,
        or Halted and no more in progress. Where a master's toolstack has started anew and forgotten the task, the host may
        still be at it: Ceph decides that one. Whoever maps the disk first has its lock, nothing is started while a living
        client has it, and without it no start succeeds. It is not cancelled: that would be asked of the very toolstack that
        does not answer, and where that is merely slow, the start would be for nothing.
        """
        now = time.monotonic()
        starts = [(vm, place) for vm, (_, place) in self.starts.items() if place]
        return {vm: place for vm, place in starts if now - self._begun_at.get(vm, now) >= HANGS_S}

    def avoid_hanging(self, sight):
        """The sight without the places where a start hangs, if there are others: what is sent there would hang, too."""
        places = set(self.hanging().values())
        if all(peer.uuid in places for peer in sight.peers if peer.can_start):
            return sight
        peers = [peer._replace(can_start=peer.can_start and peer.uuid not in places) for peer in sight.peers]
        return sight._replace(peers=tuple(peers))

    def _claim(self, step, ref, own):
        if step.kind == failover.TAKE_OVER:
            marks = self._call("VM.get_other_config", ref)
            if marks.get(CLAIM_MARK) != step.about:
                return False
            # In one call: of a VM that has been declared off, and that nobody claims, nobody would know any more.
            self._call("VM.set_other_config", ref, {**marks, CLAIM_MARK: own})
            return True
        try:
            self._call("VM.add_to_other_config", ref, CLAIM_MARK, own)
        except Refused as error:
            if error.failure[0] != "MAP_DUPLICATE_KEY":
                raise
            return False
        return True

    def _reset(self, step, ref, roster):
        """Only while the record still says that it runs on the dead host.

        A task, and one at a time: xapi may try to reach the host, and a late one would undo what is done after it.
        """
        if step.vm in self.starts:
            return False
        resident = self._call("VM.get_resident_on", ref)
        if resident == NULL or self._call("host.get_uuid", resident) != step.about:
            return False
        self.starts[step.vm] = (self._call("Async.VM.power_state_reset", ref), "")
        return True

    def _start(self, step, ref, name, roster):
        under_way = sum(bool(place) for _, place in self.starts.values()) - len(self.hanging())
        if step.vm in self.starts or under_way >= STARTS_MAX:
            return ""
        place = self._call("host.get_by_uuid", step.place)
        self._begun_at[step.vm] = time.monotonic()
        self.starts[step.vm] = (self._call("Async.VM.start_on", ref, place, False, False), step.place)
        return "starts the VM %s on %s" % (name, _name(roster, step.place))

    def _stop(self, vm):
        domain = domains.on_shoal().get(vm)
        if domain is None:
            return ""
        domains.destroy(domain)
        return "stopped the VM %s" % vm


def _name(roster, uuid):
    return roster.hosts[uuid].name if uuid in roster.hosts else uuid
