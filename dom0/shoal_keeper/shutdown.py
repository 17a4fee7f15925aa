"""What a host does when it shuts down or reboots: its VMs off, Shoal's SRs unplugged, its OSDs kept in the cluster for a
while, then its storage VM off, cleanly.

Run by shoal-keeper.service when the keeper has ended, while xapi and the network are still there. Where `shoal host` has
done all that before, or the system does not go down at all, there is nothing to do. Bounded as a whole: a shutdown waits
for it, and must not wait for ever.
"""

import os
import subprocess
import sys
import time

if __name__ == "__main__":
    # As in __main__.py.
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0.deadline import Deadline
from shoal_keeper import failover_roster, noout, observe, tasks
from shoal_keeper.memory import Memory
from shoal_keeper.state import NULL
from shoal_keeper.toolstack import Refused, Toolstack, Unreachable

# Together less than TimeoutStopSec of the unit.
VMS_S = 90.0  # where xapi has its own service for them, it has shut them down by now
UNPLUG_S = 45.0
STORAGE_VM_S = 150.0
ASK_S = 10.0
POLL_S = 0.5
AWAY_S = 20.0  # a toolstack that starts anew is back by then, and batteries do not last
DONE_BEFORE = ("VM_BAD_POWER_STATE", "HANDLE_INVALID")


def main():
    if not is_going_down():
        return
    toolstack = Toolstack()
    try:
        leave(toolstack, say)
    except Unreachable as error:  # Refused is one, too
        say("cannot leave in order: %s" % (", ".join(error.failure) if isinstance(error, Refused) else error))
        tell_of_noout(say)


def say(sentence):
    print("<6>shutdown: %s" % " ".join(sentence.split())[:2000], flush=True)


def is_going_down():
    """The keeper is stopped on other occasions, too."""
    asked = ["systemctl", "is-system-running"]
    try:
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        say("systemd does not say whether the system goes down (%s); so nothing is done" % type(error).__name__)
        return False
    return done.stdout.decode(errors="replace").strip() == "stopping"


def leave(toolstack, tell):
    """Each stage is tried, whatever became of the one before: what it leaves undone ends with the host."""
    seen = observe.Observer(toolstack).look(Memory(boot=""), ())
    if not seen.pool.is_marked:
        return
    vms = [(ref, "VM.clean_shutdown", "the VM " + name) for ref, name in running_vms(toolstack, seen)]
    pbds = [(pbd.ref, "PBD.unplug", "SR " + pbd.sr_name) for pbd in seen.pbds if pbd.attached]
    storage = seen.storage_vm
    is_here = storage is not None and storage.power_state == "Running" and storage.resident_on == seen.host.ref
    own = [(storage.ref, "VM.clean_shutdown", "the storage VM " + storage.name)] if is_here else []
    for things, limit_s in ((vms, VMS_S), (pbds, UNPLUG_S), (own, STORAGE_VM_S)):
        if things and things is own:
            tell_of_noout(tell)
        if things:
            tell("; ".join(carry_out(toolstack, things, Deadline(limit_s))))
    if not (vms or pbds or own):
        tell("nothing is left to do")


def tell_of_noout(tell):
    """It needs no toolstack. After `shoal host` it has been set, and then it has no end."""
    said = noout.hold(failover_roster.load())
    if said:
        tell(said)


def running_vms(toolstack, seen):
    """The ordinary VMs on this host."""
    found = []
    for ref, record in toolstack.call("VM.get_all_records").items():
        is_vm = not (record["is_a_template"] or record["is_a_snapshot"] or record["is_control_domain"])
        is_here = record["resident_on"] == seen.host.ref and record["resident_on"] != NULL
        if is_vm and is_here and record["power_state"] == "Running" and observe.HOST_MARK not in record["other_config"]:
            found.append((ref, record["name_label"]))
    return sorted(found, key=lambda pair: pair[1])


def carry_out(toolstack, things, deadline):
    """All at the same time; what became of each, a phrase. A toolstack that stays away is waited for a short while only."""
    said, begun = [], []
    for number, (ref, method, name) in enumerate(things):
        try:
            begun.append((toolstack.call("Async." + method, ref), method, name))
        except Refused as error:
            said.append(phrase(method, name, error.failure))
        except Unreachable as error:
            said += [phrase(method, name, [error.reason]) for _, method, name in things[number:]]
            break
    why, away = "not done within %.0f s" % deadline.seconds, Deadline(AWAY_S)
    while begun and not deadline.passed():
        time.sleep(min(POLL_S, deadline.remaining()))
        try:
            for task, method, name in list(begun):
                failure = tasks.look(toolstack.call, task)
                away = Deadline(AWAY_S)
                if failure is not None:
                    begun.remove((task, method, name))
                    said.append(phrase(method, name, failure))
        except Unreachable as error:  # Refused, too: a member's xapi refuses much while the master is away
            if away.passed():
                why = error.reason
                break
    return said + [phrase(method, name, [why]) for _, method, name in begun]


def phrase(method, name, failure):
    verb = "unplugged" if method == "PBD.unplug" else "shut down"
    if not failure or failure[0] in DONE_BEFORE:
        return "%s is %s" % (name, verb)
    return "%s is NOT %s: %s" % (name, verb, tasks.describe(failure))


if __name__ == "__main__":
    main()
