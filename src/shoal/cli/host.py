"""`shoal host`: hosts leave service, come back and reboot, in an order that Ceph and the VMs survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from shoal import converge
from shoal.cli.errand import Errand
from shoal.cli.options import Options as CommonOptions
from shoal.converge import HostWork
from shoal.facts import Maintenance
from shoal.kit.errors import ShoalError
from shoal.plan import host_enter, host_exit, host_reboot
from shoal.plan.action import Plan
from shoal.spec.model import Spec

WAIT_S = 1800
StopVms = Annotated[
    bool, Parameter(name="--stop-vms", negative="", help="Shut down, cleanly, the VMs that cannot move.")
]
BringBack = Annotated[
    bool, Parameter(name="--bring-back", negative="", help="Bring the VMs back that were taken away from the host.")
]
Wait = Annotated[int, Parameter(name="--wait", help="Seconds to wait for Ceph, each time, before giving up.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options(CommonOptions):
    """What all work on hosts takes."""

    wait: Wait = WAIT_S


AS_USUAL = Options()
verbs = App(
    help="Hosts out of service and back, reboots; and hosts that join the storage or leave it: add, remove.",
    help_format="plaintext",
)
maintenance = App(help="Take one host out of service, or bring it back.", help_format="plaintext")
verbs.command(maintenance, name="maintenance")


@maintenance.command(name="enter")
def _enter(host: str, /, *, stop_vms: StopVms = False, options: Options = AS_USUAL) -> int:
    """Move the host's VMs away, unplug its SRs, set noout for its OSDs, shut down its storage VM. Asks first.

    Example: shoal host maintenance enter xen2
    """

    def work(spec: Spec) -> HostWork:
        return HostWork((host,), lambda seen: host_enter.plan(spec, seen, host, stop_vms=stop_vms, wait_s=options.wait))

    return _run(options, work)


@maintenance.command(name="exit")
def _exit(host: str, /, *, bring_back: BringBack = False, options: Options = AS_USUAL) -> int:
    """Start the host's storage VM, wait for its Ceph daemons, plug its SRs, let VMs in again. Asks first.

    Example: shoal host maintenance exit xen2 --bring-back
    """

    def work(spec: Spec) -> HostWork:
        return HostWork(
            (host,), lambda seen: host_exit.plan(spec, seen, host, bring_back=bring_back, wait_s=options.wait)
        )

    return _run(options, work)


@verbs.command(name="reboot")
def _reboot(
    *hosts: str,
    rolling: Annotated[bool, Parameter(name="--rolling", negative="", help="All hosts, one at a time.")] = False,
    stop_vms: StopVms = False,
    bring_back: BringBack = False,
    options: Options = AS_USUAL,
) -> int:
    """Reboot hosts, one at a time, the master last: out of service, reboot, back, and wait until Ceph is clean.

    Cut off, the same command goes on where it stopped.

    Example: shoal host reboot --rolling --bring-back
    """
    if rolling == bool(hosts):
        raise ShoalError("name the hosts to reboot, or say --rolling for all", resolution="shoal host reboot --help")

    def work(spec: Spec) -> HostWork:
        how = host_reboot.Options(stop_vms=stop_vms, bring_back=bring_back, wait_s=options.wait)
        chosen: list[str] = []

        def make(seen: Maintenance) -> Plan:
            chosen[:] = host_reboot.choose(spec, seen, hosts)
            return host_reboot.plan(spec, seen, chosen, how)

        names = hosts or tuple(host.name for host in spec.hosts)
        return HostWork(names, make, lambda seen: host_reboot.next_plan(spec, seen, chosen, how))

    return _run(options, work)


def _run(options: Options, make: Callable[[Spec], HostWork]) -> int:
    options.need_answer("this")
    errand = Errand(options, ask=not options.yes)
    work = make(errand.document.spec)

    def plan() -> Plan:
        return work.make(errand.wait(converge.look_at_hosts(errand.document, errand.state, work.names)))

    return errand.run(
        plan,
        lambda talk: converge.work_on_hosts(
            errand.document,
            errand.state,
            work,
            confirm=talk.confirm,
            announce=talk.announce,
            watcher=talk.progress,
        ),
    )
