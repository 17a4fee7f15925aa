"""`shoal host`: hosts leave service, come back and reboot, in an order that Ceph and the VMs survive."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, exit_code, explain, outcome_to_dict
from shoal.cli.options import Options as CommonOptions
from shoal.cli.plan import action_to_dict
from shoal.cli.render import draw_plan, draw_results, error_console, output_console, summarize
from shoal.converge import HostWork
from shoal.engine.outcome import State
from shoal.facts import Maintenance
from shoal.kit.errors import ShoalError
from shoal.kit.folders import state_folder
from shoal.plan import host_enter, host_exit, host_reboot
from shoal.plan.action import Plan
from shoal.spec.load import read_spec
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
verbs = App(help="Take hosts out of service and bring them back.", help_format="plaintext")
maintenance = App(help="Take one host out of service, or bring it back.", help_format="plaintext")
verbs.command(maintenance, name="maintenance")


@maintenance.command(name="enter")
def _enter(host: str, /, *, stop_vms: StopVms = False, options: Options = AS_USUAL) -> int:
    """Move the host's VMs away, unplug its SRs, set noout for its OSDs, shut down its storage VM. Asks first.

    Example: shoal host maintenance enter xen2
    """

    def work(spec: Spec) -> HostWork:
        return HostWork((host,), lambda seen: host_enter.plan(spec, seen, host, stop_vms=stop_vms, wait_s=options.wait))

    return _Work(options).run(work)


@maintenance.command(name="exit")
def _exit(host: str, /, *, bring_back: BringBack = False, options: Options = AS_USUAL) -> int:
    """Start the host's storage VM, wait for its Ceph daemons, plug its SRs, let VMs in again. Asks first.

    Example: shoal host maintenance exit xen2 --bring-back
    """

    def work(spec: Spec) -> HostWork:
        return HostWork(
            (host,), lambda seen: host_exit.plan(spec, seen, host, bring_back=bring_back, wait_s=options.wait)
        )

    return _Work(options).run(work)


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

    return _Work(options).run(work)


class _Work:
    """One piece of work on hosts from the command line: look, plan, ask, do, say."""

    def __init__(self, options: Options) -> None:
        options.need_answer("this")
        self._document = read_spec(options.file)
        self._state: Path = state_folder(self._document.spec.pool.url, options.state)
        self._options = options
        self._console = error_console() if options.json else output_console()

    def run(self, make: Callable[[Spec], HostWork]) -> int:
        work = make(self._document.spec)
        if self._options.dry_run:
            looking = converge.look_at_hosts(self._document, self._state, work.names)
            return self._say(converge.Result(work.make(door.run(looking, self._document))))
        conversation = Conversation(self._console, ask=not self._options.yes)

        def announce(plan: Plan) -> None:
            self._console.print(draw_plan(plan))
            conversation.progress.expect(len(plan.changes))

        doing = converge.work_on_hosts(
            self._document,
            self._state,
            work,
            confirm=conversation.confirm,
            announce=announce,
            watcher=conversation.progress,
        )
        try:
            result = door.run(doing, self._document)
        finally:
            conversation.end()
        return self._say(result, refused=conversation.was_refused)

    def _say(self, result: converge.Result, *, refused: bool = False) -> int:
        if self._options.json:
            print(json_format.dumps(_result_to_dict(result), indent=2))
        if result.plan.problems:
            return door.refuse(result.plan.problems)
        if refused:
            self._console.print("Nothing was touched.")
            return door.FAILED
        if self._options.dry_run:
            self._console.print(draw_plan(result.plan, everything=True))
            return door.OK
        if not result.outcomes:
            self._console.print(f"{summarize(result.plan)}  ({result.seconds:.1f} s)")
            return door.OK
        self._console.print(draw_results(result.outcomes.values()))
        for outcome in result.failures:
            explain(outcome)
        if result.failures:
            self._console.print(Text("Run the same command again: it goes on where it stopped.", "bold red"))
            return exit_code(result)
        done = sum(outcome.state is State.DONE for outcome in result.outcomes.values())
        self._console.print(Text(f"{done} done in {result.seconds:.1f} s", "bold green"))
        return door.OK


def _result_to_dict(result: converge.Result) -> dict[str, object]:
    return {
        "actions": [action_to_dict(action) for action in result.plan.actions],
        "problems": [{"what": problem.what, "remedy": problem.remedy} for problem in result.plan.problems],
        "outcomes": [outcome_to_dict(outcome) for outcome in result.outcomes.values()],
        "seconds": round(result.seconds, 2),
    }
