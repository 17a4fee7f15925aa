"""The VMs that this host has stopped, since it was cut off or shut out from their disks, and that nobody else may start.

Kept in a file: a keeper that is restarted in between must not forget them, and their owners' marks do not tell.
"""

import json
import os

from . import failover, failover_roster

TAKE_BACK_S = 600.0  # so long after it was cut off: whoever has started one since may want to stop it, too
SAVE_EVERY_S = 60.0


class Stopped:
    def __init__(self, boot, say):
        self._boot = boot
        self._say = say
        self._vms, self._until = _load(boot)
        self._saved_until = self._until

    def __bool__(self):
        return bool(self._vms)

    def add(self, vm):
        """Before it is stopped: who is killed in between has stopped it, and so has one that Xen gives no answer about."""
        if vm not in self._vms:
            self._keep(self._vms | {vm})

    def extend(self, uptime_s):
        """This host is cut off, or shut out, now."""
        self._until = uptime_s + TAKE_BACK_S
        if self._vms and self._until - self._saved_until >= SAVE_EVERY_S:
            self._keep(self._vms)

    def take_back(self, sight, uptime_s):
        """Claims of what is off, and nobody has started elsewhere."""
        known = self._vms if uptime_s <= self._until else frozenset()
        mine = [guest for guest in sight.guests if guest.uuid in known and not guest.claim]
        # xapi may not have noticed yet that it is off.
        left = frozenset(guest.uuid for guest in mine if guest.resident_on == sight.own or guest.power_state == "Halted")
        if left != self._vms:
            self._keep(left)
        off = [guest for guest in mine if guest.power_state == "Halted"]
        return [failover.Step(failover.CLAIM, "it was stopped here, cut off", vm=guest.uuid) for guest in off]

    def _keep(self, vms):
        self._vms, self._saved_until = vms, self._until
        kept = {"boot": self._boot, "vms": sorted(vms), "until_s": self._until}
        try:
            os.makedirs(os.path.dirname(file()), exist_ok=True)
            with open(file() + ".new", "w") as new:
                json.dump(kept, new)
                new.flush()
                os.fsync(new.fileno())
            os.rename(file() + ".new", file())
        except OSError as error:
            self._say("failover: cannot keep which VMs it has stopped: %s" % error, True)


def file():
    return os.path.join(os.path.dirname(failover_roster.FILE), "stopped.json")


def _load(boot):
    """Of this boot: what ran before another is as lost as after a crash."""
    try:
        with open(file()) as kept_file:
            kept = json.load(kept_file)
        if kept["boot"] == boot:
            return frozenset(str(vm) for vm in kept["vms"]), float(kept["until_s"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there is none, or it is damaged
    return frozenset(), 0.0
