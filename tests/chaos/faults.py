"""The faults: how each is done to a host, and how it is undone where a real site undoes it, not Shoal.

Power comes back, a cable is plugged in, a process is started by its supervisor. All the rest is Shoal's.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lab import host as hosts
from lab import loops, power, storage_vm
from lab.command import CommandError, stop
from shoal.spec.names import storage_vm_name
from tests.chaos import slow_network
from tests.chaos.ground import Ground
from tests.chaos.schedule import Kind
from tests.lab.conftest import ROOT, shoal_argv

SKEW = "+30 seconds"
FILLED = "/var/tmp/filled"
UP_TIMEOUT_S = 900.0
OSD_UP_TIMEOUT_S = 300.0
DOWN_TIMEOUT_S = 420.0  # the keeper's unit has 360 s to bring everything down in order
APPLY_TIMEOUT_S = 900.0
INTO_APPLY_S = 4.0
DOWN_S = 25.0  # between a crash and the next thing that happens to the host
# Work for an apply: files of the kit and settings that are not as wanted, and that nothing hangs on meanwhile.
SPOILED_FILE = "/opt/shoal/dom0/shoal_keeper/alerts.py"
SPOILED_SETTINGS = ("mon_osd_blocklist_default_expire", "paxos_propose_interval")


@dataclass(frozen=True, slots=True)
class Fault:
    """`takes_host`: the VMs of that host end, and run elsewhere or later. `takes_all`: all VMs end.

    `spares_osds`: no OSD may be marked down for it. `on_master`: it hits the host that is the pool's master by then.
    """

    kind: Kind
    begin: Callable[[Ground, str], None]
    end: Callable[[Ground, str], None]
    takes_host: bool = False
    takes_all: bool = False
    spares_osds: bool = False
    on_master: bool = False


def nothing(_ground: Ground, _host: str) -> None:
    """It is over by itself, or it is for Shoal to mend."""


def crash(ground: Ground, host: str) -> None:
    ground.lose(host, "crash")


def boot(ground: Ground, host: str) -> None:
    ground.lab_cli("boot", host, timeout_s=UP_TIMEOUT_S)


def boot_and_lose(ground: Ground, host: str) -> None:
    """Back, gone again while it recovers, and back."""
    boot(ground, host)
    wait_for_osds(ground, host)
    crash(ground, host)
    time.sleep(DOWN_S)
    boot(ground, host)


def boot_and_reboot(ground: Ground, host: str) -> None:
    """Back, and rebooted from inside while it recovers; it comes back by itself."""
    boot(ground, host)
    wait_for_osds(ground, host)
    ground.dom0(host, "systemctl", "--no-block", "reboot")
    wait_until(lambda: not hosts.greets(ground.lab, ground.host(host)), f"{host} to go down", DOWN_TIMEOUT_S)
    wait_until(lambda: hosts.greets(ground.lab, ground.host(host)), f"{host} to come back")


def wait_for_osds(ground: Ground, host: str) -> None:
    """Until all of its OSDs are up, and data that was written meanwhile begins to be copied to them."""

    def are_up() -> bool:
        osds = ground.osds().get(storage_vm_name(host), {})
        return bool(osds) and all(osds.values())

    wait_until(are_up, f"the OSDs of {host} to be up")


def wait_until(met: Callable[[], bool], what: str, timeout_s: float = OSD_UP_TIMEOUT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline_s:
            raise CommandError(f"waited {timeout_s:g} s for {what}")
        time.sleep(1)


def cut(ground: Ground, host: str) -> None:
    ground.lose(host, "cut")


def heal(ground: Ground, host: str) -> None:
    ground.lab_cli("heal", host)


def cut_power(ground: Ground, _host: str) -> None:
    ground.lab_cli("powercut")


def up(ground: Ground, _host: str) -> None:
    """The hosts are up when all dom0s have booted; `shoal-lab up` waits for their toolstacks, too."""
    with ThreadPoolExecutor(max_workers=1) as aside:
        going_up = aside.submit(ground.lab_cli, "up", timeout_s=UP_TIMEOUT_S)
        while not going_up.done() and not all(hosts.greets(ground.lab, host) for host in ground.lab.hosts):
            time.sleep(0.5)
        ground.up_s = time.monotonic()
        going_up.result()


def kill_container(name: str) -> Callable[[Ground, str], None]:
    def kill(ground: Ground, host: str) -> None:
        # Not every host has each of them at every time.
        found = f"docker ps -q --filter name=-{name} | head -n 1"
        ground.storage_vm(host, f'c=$({found}); [ -z "$c" ] || docker kill --signal KILL "$c"')

    return kill


def kill_docker(ground: Ground, host: str) -> None:
    ground.storage_vm(host, "systemctl kill --signal KILL docker.service")


def kill_keeper(ground: Ground, host: str) -> None:
    ground.dom0(host, "systemctl", "kill", "--signal", "KILL", "shoal-keeper")


def kill_toolstack(ground: Ground, host: str) -> None:
    stop(power.toolstack_pid(ground.host(host)))


def start_toolstack(ground: Ground, host: str) -> None:
    power.start_toolstack(ground.lab, ground.host(host))
    power.wait_for_toolstack(ground.lab, ground.host(host))


def slow_down(ground: Ground, host: str) -> None:
    ground.shaper = slow_network.slow(ground.lab, ground.host(host))


def free(ground: Ground, host: str) -> None:
    slow_network.free(ground.lab, ground.host(host))


def skew_clock(ground: Ground, host: str) -> None:
    """dom0's: storage VMs have the machine's own clock in this lab."""
    ground.dom0(host, "date", "--set", SKEW)


def fill_disk(ground: Ground, host: str) -> None:
    """The storage VM's own disk: logs and containers find no place. The OSD's disk is another one."""
    # Root's reserve, too, but for the 4,096 blocks that ext4 gives nobody, and a few. Blocks are taken, not written.
    ground.storage_vm(host, f"set -- $(stat -f -c '%f %S' /); fallocate -l $((($1 - 5120) * $2)) {FILLED}")


def empty_disk(ground: Ground, host: str) -> None:
    ground.storage_vm(host, f"rm -f {FILLED}")


def fail_disk(ground: Ground, host: str) -> None:
    """A cable, a controller, a disk that is reset: its OSD ends, and is started in vain until the disk is back."""
    for one in storage_vm.host_disks(ground.host(host)):
        loops.fail(one)


def mend_disk(ground: Ground, host: str) -> None:
    for one in storage_vm.host_disks(ground.host(host)):
        loops.mend(one)


def crash_during_apply(ground: Ground, host: str) -> None:
    """`apply` has something to do on every host and in Ceph, and one of the hosts dies."""
    for name in SPOILED_SETTINGS:
        ground.ceph("config", "rm", "mon", name)
    for each in ground.lab.hosts:
        ground.dom0(each.name, "sh", "-c", 'echo "# spoiled" >> "$1"', "sh", SPOILED_FILE)
    argv = shoal_argv("apply", "--yes")
    with (ground.lab.dir / "chaos-apply.log").open("ab") as log:
        ground.apply = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    time.sleep(INTO_APPLY_S)
    crash(ground, host)


def boot_and_apply(ground: Ground, host: str) -> None:
    """What was under way ends, well or not; the same command then does all that is left."""
    boot(ground, host)
    assert ground.apply is not None
    try:
        ground.apply.wait(timeout=APPLY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        ground.apply.kill()
        raise CommandError(f"an apply that lost {host} did not end within {APPLY_TIMEOUT_S:g} s") from None
    deadline_s = time.monotonic() + APPLY_TIMEOUT_S
    while (done := ground.shoal("apply", "--yes", timeout_s=APPLY_TIMEOUT_S, check=False)).code:
        if time.monotonic() > deadline_s:
            raise CommandError(f"apply does not converge after {host} was lost: {(done.stdout + done.stderr)[-1500:]}")
        time.sleep(5)
    ground.shoal("plan", "--exit-code", timeout_s=120)


FAULTS = (
    Fault(Kind("crash", 30, 90, weight=2), crash, boot, takes_host=True),
    Fault(Kind("crash-again", 20, 40), crash, boot_and_lose, takes_host=True),
    Fault(Kind("reboot-in-recovery", 20, 40), crash, boot_and_reboot, takes_host=True),
    Fault(Kind("crash-in-apply", 20, 40), crash_during_apply, boot_and_apply, takes_host=True),
    Fault(Kind("master-crash", 60, 120), crash, boot, takes_host=True, on_master=True),
    Fault(Kind("cut", 60, 120), cut, heal, takes_host=True),
    Fault(Kind("powercut", 1, 5), cut_power, up, takes_all=True),
    Fault(Kind("kill-osd"), kill_container("osd"), nothing),
    Fault(Kind("kill-mon"), kill_container("mon"), nothing, spares_osds=True),
    Fault(Kind("kill-mgr"), kill_container("mgr"), nothing, spares_osds=True),
    Fault(Kind("kill-volumes"), kill_container("shoal-volumes"), nothing, spares_osds=True),
    Fault(Kind("kill-docker"), kill_docker, nothing),
    Fault(Kind("kill-keeper"), kill_keeper, nothing, spares_osds=True),
    Fault(Kind("kill-toolstack", 2, 10), kill_toolstack, start_toolstack, spares_osds=True),
    Fault(Kind("slow-network", 20, 60), slow_down, free, spares_osds=True),
    Fault(Kind("clock-skew"), skew_clock, nothing, spares_osds=True),
    Fault(Kind("full-disk", 20, 40), fill_disk, empty_disk),
    Fault(Kind("failed-disk", 5, 20), fail_disk, mend_disk),
)
# What the beginning of every slice shows already.
SHOWN = ("crash", "powercut")


def rarely(faults: Sequence[Fault], names: Collection[str] = SHOWN) -> list[Fault]:
    """These half as often as any other: for a run that has no time for all."""
    weights = {fault: 1 if fault.kind.name in names else 2 for fault in faults}
    return [replace(fault, kind=replace(fault.kind, weight=weight)) for fault, weight in weights.items()]
