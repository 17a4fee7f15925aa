"""A host and all that lives and dies with it: dom0 in QEMU, its toolstack, its storage VMs. And the whole pool at once.

Each verb may be repeated at any time, after any mess.
"""

from __future__ import annotations

import os
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import host as hosts
from lab import network, storage_vm
from lab.command import NAMESPACES, CommandError, end_unrecorded, record, recorded, run, start, stop
from lab.topology import Host, Lab

Say = Callable[[str], None]
BOOT_TIMEOUT_S = 240.0  # three at once on two emulating cores, with something else going on, take 60
TOOLSTACK_TIMEOUT_S = 300.0  # it asks dom0 for its drivers before it listens, and dom0 may be busy with its own boot
STARTED = "/var/run/xapi_init_complete.cookie"  # in dom0
START_TIMEOUT_S = 90.0
RESTART = "/opt/xensource/bin/xe-toolstack-restart"


def toolstack_pid(host: Host) -> Path:
    return host.dir / "toolstack.pid"


def toolstack_log(host: Host) -> Path:
    return host.dir / "toolstack.log"


def timeserver_pid(lab: Lab) -> Path:
    return lab.dir / "timeserver.pid"


def boot(lab: Lab, host: Host, image: Path, say: Say) -> None:
    """Switch a host on and wait until its toolstack answers."""
    began = time.monotonic()
    if hosts.running(host) is None:
        storage_vm.kill_all(lab, host)  # nothing of it outlives its host, whatever ended QEMU
        stop(toolstack_pid(host))
        hosts.boot(lab, host, image)
        hosts.wait_until_up(lab, host, timeout_s=BOOT_TIMEOUT_S)
        say(f"{host.name}: dom0 is up after {time.monotonic() - began:.0f} s")
    start_toolstack(lab, host)
    wait_for_toolstack(lab, host)
    say(f"{host.name}: toolstack answers on {host.address}")


def crash(lab: Lab, host: Host) -> None:
    """The power is gone, at once."""
    stop(toolstack_pid(host))
    hosts.power_off(host)
    storage_vm.kill_all(lab, host)


def power_cut(lab: Lab) -> None:
    """The whole pool loses power."""
    on_all(lab.hosts, lambda host: crash(lab, host))


def on_all(some: Sequence[Host], do: Callable[[Host], None]) -> None:
    """Do it to all at the same time; then raise the first error, if any."""
    with ThreadPoolExecutor(max_workers=max(len(some), 1)) as pool:
        futures = [pool.submit(do, host) for host in some]
    for future in futures:
        future.result()


def start_toolstack(lab: Lab, host: Host) -> None:
    words = ["-m", "lab.xapi", "--dir", str(lab.dir), "--host", host.name]
    end_unrecorded(words, toolstack_pid(host))
    if recorded(toolstack_pid(host)) is None:
        argv = [sys.executable, *words]
        pid = start(argv, namespace=lab.namespace, log=toolstack_log(host))
        record(toolstack_pid(host), pid)


def restart_toolstacks(lab: Lab) -> None:
    """Of all hosts that are on: what the lab consists of, a toolstack reads only when it starts."""
    for host in lab.hosts:
        if recorded(toolstack_pid(host)) is not None:
            argv = [sys.executable, "-m", "lab.cli", "--dir", str(lab.dir), "run", host.name, "--", RESTART]
            run(argv, timeout_s=90)


def wait_for_toolstack(lab: Lab, host: Host, *, timeout_s: float = TOOLSTACK_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not answers(lab, host):
        if recorded(toolstack_pid(host)) is None:
            raise CommandError(f"{host.name}: its toolstack ended; see {toolstack_log(host)}:\n{_tail(host)}")
        if time.monotonic() > deadline:
            raise CommandError(f"{host.name}: its toolstack did not answer within {timeout_s:g} s:\n{_tail(host)}")
        time.sleep(0.3)


def wait_until_started(lab: Lab, host: Host, say: Say) -> None:
    """Until the host has done what follows a start: SRs plugged, VMs started. Its toolstack answers before that."""
    argv = [sys.executable, "-m", "lab.cli", "--dir", str(lab.dir), "run", host.name, "--", "test", "-e", STARTED]
    deadline = time.monotonic() + START_TIMEOUT_S
    while run(argv, timeout_s=60, check=False).code:
        if time.monotonic() > deadline:
            say(f"{host.name}: its toolstack has not done all that follows a start; see {toolstack_log(host)}")
            return
        time.sleep(1)


def answers(lab: Lab, host: Host) -> bool:
    """Whether the toolstack answers HTTPS, with whatever."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the question is who is there, not who it says it is
    try:
        with (
            network.connect(lab, host.channel_lab, 443, timeout_s=2.0) as wire,
            context.wrap_socket(wire) as secure,
        ):
            secure.settimeout(5.0)
            secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return secure.recv(5) == b"HTTP/"
    except (OSError, RuntimeError):
        return False


def start_timeserver(lab: Lab) -> None:
    if recorded(timeserver_pid(lab)) is None:
        argv = [sys.executable, "-m", "lab.timeserver"]
        record(timeserver_pid(lab), start(argv, namespace=lab.namespace, log=lab.dir / "timeserver.log"))


def end_all(lab: Lab) -> None:
    """End everything of this lab that runs, mounted or linked; also what nobody has a record of any more."""
    power_cut(lab)
    stop(timeserver_pid(lab))
    storage_vm.clean(lab)
    for path in sorted(NAMESPACES.glob(f"{lab.namespace}*"), reverse=True):
        _end_strays(path.name)
        run(["ip", "netns", "delete", path.name], timeout_s=10)


def _end_strays(namespace: str) -> None:
    """What still runs in a namespace of the lab belongs to the lab, whoever started it."""
    listed = run(["ip", "netns", "pids", namespace], timeout_s=10, check=False).stdout
    for pid in (int(word) for word in listed.split()):
        if pid != os.getpid():
            run(["kill", "-KILL", str(pid)], timeout_s=5, check=False)  # it may have ended by itself


def _tail(host: Host, lines: int = 20) -> str:
    return "\n".join(toolstack_log(host).read_text(errors="replace").splitlines()[-lines:])
