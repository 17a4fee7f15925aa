"""A command in a storage VM, as root, by the key that the pool keeps for Shoal."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

from lab.command import Completed, run
from lab.topology import Host, Lab
from lab.witness_vm import log_in

LOOK_TIMEOUT_S = 30.0  # for the key: quick calls, and another host is asked then


def in_storage_vm(lab: Lab, host: Host, argv: list[str], *, timeout_s: float = 120) -> str:
    return ask_storage_vm(lab, host, argv, timeout_s=timeout_s).stdout


def ask_storage_vm(
    lab: Lab, host: Host, argv: list[str], *, timeout_s: float, check: bool = True, input: bytes | None = None
) -> Completed:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    options += ["-o", "ConnectTimeout=10"]
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        key.touch(mode=0o600)
        key.write_text(ssh_key(lab))
        target = f"root@{host.storage_vm_address}"
        command: list[str | Path] = ["ssh", "-F", os.devnull, "-i", key, *options, target, shlex.join(argv)]
        return run(command, namespace=lab.namespace, timeout_s=timeout_s, check=check, input=input)


def ssh_key(lab: Lab) -> str:
    session = log_in(lab, timeout_s=LOOK_TIMEOUT_S)
    (pool,) = session.call("pool.get_all")
    secret = session.call("secret.get_by_uuid", session.call("pool.get_other_config", pool)["shoal:ssh-key"])
    return str(session.call("secret.get_value", secret))
