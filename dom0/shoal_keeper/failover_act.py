"""Carries out what failover decided, one step at a time. Each may be repeated; what somebody else did first is done."""

from shoal_dom0.xapi import ignore_gone

from . import domains, failover
from .act import BEATEN
from .failover import CLAIM_MARK
from .state import NULL
from .toolstack import Refused

STARTS_MAX = 4


class Actor:
    """`starts` are the tasks that start VMs: uuid → (task, place), and those that declare one off, with no place.

    They go on when the keeper ends.
    """

    def __init__(self, call, services):
        self._call = call
        self._services = services
        self.starts = {}

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
            try:
                record = self._call("task.get_record", task)
            except Refused as error:
                if error.failure[0] != "HANDLE_INVALID":
                    raise
                del self.starts[vm]  # the toolstack has restarted; the next look shows what became of it
                continue
            if record["status"] in ("pending", "cancelling"):
                continue
            del self.starts[vm]
            ignore_gone(self._call, "task.destroy", task)
            failure = record["error_info"] or [record["status"]]
            is_well = record["status"] == "success" or failure[0] in BEATEN
            ended.append((vm, place, "" if is_well else ", ".join(str(part) for part in failure if part)[:300]))
        return ended

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
        if step.vm in self.starts or sum(bool(place) for _, place in self.starts.values()) >= STARTS_MAX:
            return ""
        place = self._call("host.get_by_uuid", step.place)
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
