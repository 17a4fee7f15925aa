"""The faults: how each is done to a host, and how it is undone where a real site undoes it, not Shoal.

Power comes back, a cable is plugged in, a process is started by its supervisor. All the rest is Shoal's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab import power
from lab.command import run, stop
from lab.topology import Host, Lab
from tests.chaos.schedule import Kind
from tests.lab.conftest import lab_cli
from tests.lab.storage_vm_shell import in_storage_vm

SLOW_RATE = "20mbit"
SKEW = "+30 seconds"
FILLED = "/var/tmp/filled"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it happens."""

    lab: Lab

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def dom0(self, host: str, *argv: str) -> None:
        lab_cli("run", host, "--", *argv, timeout_s=120)

    def storage_vm(self, host: str, script: str) -> None:
        in_storage_vm(self.lab, self.host(host), ["sh", "-c", script])


Do = Callable[[Ground, str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`takes_host`: the VMs of that host end, and run elsewhere or later. `takes_all`: all VMs end."""

    kind: Kind
    begin: Do
    end: Do
    takes_host: bool = False
    takes_all: bool = False


def nothing(_ground: Ground, _host: str) -> None:
    """It is over by itself, or it is for Shoal to mend."""


def crash(_ground: Ground, host: str) -> None:
    lab_cli("crash", host)


def boot(_ground: Ground, host: str) -> None:
    lab_cli("boot", host, timeout_s=600)


def crash_again(ground: Ground, host: str) -> None:
    """Back, and gone again before it has recovered."""
    crash(ground, host)
    boot(ground, host)
    crash(ground, host)


def cut(_ground: Ground, host: str) -> None:
    lab_cli("cut", host)


def heal(_ground: Ground, host: str) -> None:
    lab_cli("heal", host)


def cut_power(_ground: Ground, _host: str) -> None:
    lab_cli("powercut")


def up(_ground: Ground, _host: str) -> None:
    lab_cli("up", timeout_s=900)


def kill_container(name: str) -> Do:
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


def shape(verb: str) -> Do:
    def do(ground: Ground, host: str) -> None:
        words = ["tc", "qdisc", verb, "dev", ground.host(host).tap, "root"]
        if verb == "add":
            words += ["tbf", "rate", SLOW_RATE, "burst", "64kbit", "latency", "400ms"]
        run(words, namespace=ground.lab.namespace, timeout_s=10)

    return do


def skew_clock(ground: Ground, host: str) -> None:
    ground.dom0(host, "date", "--set", SKEW)


def fill_disk(ground: Ground, host: str) -> None:
    """The storage VM's own disk: logs and containers find no place. The OSD's disk is another one."""
    # Root's reserve, too. Blocks are taken, not written.
    ground.storage_vm(host, f"set -- $(stat -f -c '%f %S' /); fallocate -l $((($1 - 256) * $2)) {FILLED}")


def empty_disk(ground: Ground, host: str) -> None:
    ground.storage_vm(host, f"rm -f {FILLED}")


FAULTS = (
    Fault(Kind("crash", 30, 90, weight=2), crash, boot, takes_host=True),
    Fault(Kind("crash-again", 20, 40), crash_again, boot, takes_host=True),
    Fault(Kind("cut", 60, 120), cut, heal, takes_host=True),
    Fault(Kind("powercut", 1, 5), cut_power, up, takes_all=True),
    Fault(Kind("kill-osd"), kill_container("osd"), nothing),
    Fault(Kind("kill-mon"), kill_container("mon"), nothing),
    Fault(Kind("kill-mgr"), kill_container("mgr"), nothing),
    Fault(Kind("kill-volumes"), kill_container("shoal-volumes"), nothing),
    Fault(Kind("kill-docker"), kill_docker, nothing),
    Fault(Kind("kill-keeper"), kill_keeper, nothing),
    Fault(Kind("kill-toolstack", 2, 10), kill_toolstack, start_toolstack),
    Fault(Kind("slow-network", 20, 60), shape("add"), shape("delete")),
    Fault(Kind("clock-skew"), skew_clock, nothing),
    Fault(Kind("full-disk", 20, 40), fill_disk, empty_disk),
)
