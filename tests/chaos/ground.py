"""Where it happens: the lab, by its own commands, and the pool in it, by XenAPI, SSH and Ceph."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from lab import witness_vm
from lab.command import CommandError, Completed, run
from lab.topology import Host, Lab
from shoal.clients.ceph import Ceph
from shoal.clients.ssh import Completed as SshCompleted
from shoal.kit.errors import ShoalError
from tests.chaos.osds import joined
from tests.lab.conftest import BIN, shoal_argv
from tests.lab.storage_vm_shell import ask_storage_vm

SESSION_TIMEOUT_S = 180.0  # a call may start a guest
SSH_FAILED = 255


class StorageVmShell:
    """As much of `shoal.clients.ssh.Ssh` as `Ceph` needs."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self._lab, self._host = lab, host
        self.name = f"storage VM of {host.name}"

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, input: bytes | None = None, check: bool = False
    ) -> SshCompleted:
        done = ask_storage_vm(self._lab, self._host, list(argv), timeout_s=timeout_s, check=check, input=input)
        if done.code == SSH_FAILED:
            raise CommandError(f"the {self.name} does not answer: {done.stderr.strip()}")
        return SshCompleted(done.stdout, done.stderr, done.code)


@dataclass(slots=True)
class Ground:
    """`up_s` is when all hosts were up again after a power cut; the faults note it here, and the rest.

    `struck_s` is when a host was lost, or a moment before; 0 where that is when the fault has been done.
    """

    lab: Lab
    struck_s: float = 0.0
    up_s: float = 0.0
    shaper: str = ""  # what slowed the network
    apply: subprocess.Popen[bytes] | None = None  # a `shoal apply` under way

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def lab_cli(self, *words: str, timeout_s: float = 120, check: bool = True) -> Completed:
        return run([BIN / "shoal-lab", *words], timeout_s=timeout_s, check=check)

    def lose(self, host: str, verb: str) -> None:
        """Time runs from before the command, whose own start is then in the figures, and from the first of several."""
        self.struck_s = self.struck_s or time.monotonic()
        self.lab_cli(verb, host)

    def shoal(self, *words: str, timeout_s: float, check: bool = True) -> Completed:
        return run(shoal_argv(*words), timeout_s=timeout_s, check=check)

    def dom0(self, host: str, *argv: str, timeout_s: float = 120) -> str:
        return self.lab_cli("run", host, "--", *argv, timeout_s=timeout_s).stdout

    def storage_vm(self, host: str, script: str, *, timeout_s: float = 120) -> str:
        return ask_storage_vm(self.lab, self.host(host), ["sh", "-c", script], timeout_s=timeout_s).stdout

    def ceph(self, *argv: str, timeout_s: float = 60) -> object:
        """`ceph ARGV` by the first monitor that answers, parsed."""
        return self._ask(lambda ceph: ceph.command(argv, timeout_s=timeout_s))

    def osds(self) -> dict[str, dict[int, int]]:
        """Machine → OSD → the map since which it is up, 0 for one that is down."""
        return joined(self.ceph("osd", "dump"), self.ceph("osd", "tree"))

    def ceph_python(self, source: bytes, *argv: str, timeout_s: float) -> str:
        return str(self._ask(lambda ceph: ceph.python(source, argv, timeout_s=timeout_s)))

    def _ask(self, question: Callable[[Ceph], Coroutine[Any, Any, object]]) -> object:
        failures = []
        for host in self.lab.hosts:
            try:
                return asyncio.run(question(Ceph(StorageVmShell(self.lab, host))))  # type: ignore[arg-type]
            except (ShoalError, CommandError) as error:
                failures.append(str(error))
        raise CommandError("Ceph was not reached:\n" + "\n".join(failures))

    def session(self, *, shunned: str = "", timeout_s: float = SESSION_TIMEOUT_S) -> witness_vm.Session:
        return witness_vm.log_in(self.lab, shunned=shunned, timeout_s=timeout_s)

    def master(self) -> str:
        session = self.session()
        (pool,) = session.call("pool.get_all_records").values()
        return str(session.call("host.get_name_label", pool["master"]))
