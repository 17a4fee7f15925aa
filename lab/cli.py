"""`shoal-lab`: a pool of hosts on this one machine, to try Shoal on and to break. One function per verb."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter

from lab import host as hosts
from lab import identity, network, power, status, storage_vm
from lab.command import NAMESPACES, CommandError
from lab.command import run as run_command
from lab.images import dom0 as dom0_image
from lab.images import storage_vm as storage_vm_image
from lab.namespace import enter
from lab.topology import Host, Lab, locate

app = App(
    name="shoal-lab",
    help="A pool of three hosts on this machine: real Xen, a toolstack that stands in.\n\n"
    "`shoal-lab --dir DIR COMMAND` works on the lab in DIR (default: $SHOAL_LAB_DIR, else /var/lib/shoal-lab).",
    version_flags=[],
)
Words = Annotated[str, Parameter(allow_leading_hyphen=True)]
began = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)


@app.command
def up(*, hosts: int | None = None) -> None:  # noqa: F811 (the flag's name)
    """Make the lab, or what is missing of it, and wait until all its hosts answer."""
    before, lab = locate().host_count, _sized(hosts)
    lab.dir.mkdir(parents=True, exist_ok=True)
    with _alone(lab), ThreadPoolExecutor(max_workers=1) as aside:
        identity.write_private(lab.dir / "lab.json", json.dumps({"host_count": lab.host_count}) + "\n")
        storage_image = aside.submit(storage_vm_image.build, lab.cache)  # hosts boot meanwhile
        image = dom0_image.build(lab.cache)
        say("the hosts' image is ready")
        identity.make_secrets(lab)
        network.build(lab)
        power.start_timeserver(lab)
        if lab.host_count > before:  # a host that is new joins the pool when it starts
            power.restart_toolstacks(lab)
        power.on_all(lab.hosts, lambda host: identity.make_disk(lab, host, image / "sda.img"))
        power.on_all(lab.hosts, lambda host: power.boot(lab, host, image, say))
        power.on_all(lab.hosts, lambda host: power.wait_until_started(lab, host, say))
        if not storage_image.done():
            say("the storage VM's image is still being built")
        storage_image.result()
    say(f"the lab in {lab.dir} is up: {', '.join(f'{host.name} {host.address}' for host in lab.hosts)}")


@app.command
def images() -> None:
    """Build what the hosts and storage VMs boot from, unless it is in the cache already; `up` does so by itself."""
    lab = locate()
    with ThreadPoolExecutor(max_workers=1) as aside:
        storage_image = aside.submit(storage_vm_image.build, lab.cache)
        dom0_image.build(lab.cache)
        storage_image.result()
    say(f"the images are in {lab.cache}")


@app.command
def down(*, purge: bool = False) -> None:
    """End all of the lab. Disks stay, unless --purge."""
    lab = locate()
    lab.dir.mkdir(parents=True, exist_ok=True)  # gone or not, something may still run
    with _alone(lab):
        power.end_all(lab)
        if purge:
            shutil.rmtree(lab.dir)
    say("the lab is down" + (", its disks are gone" if purge else ""))


@app.command(name="status")
def show_status(*, json_: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """What runs; exit code 0 when all of it does."""
    seen = status.look(locate())
    if json_:
        print(json.dumps(seen.as_json(), indent=2))
        return 0 if seen.is_up else 1
    print(f"lab in {seen.dir}: {'up' if seen.is_up else 'not all up'}")
    for host in seen.hosts:
        vms = f"{len(host.storage_vms)} storage VM{'' if len(host.storage_vms) == 1 else 's'}"
        words = [f"power {host.power}", f"dom0 {host.dom0}", f"network {host.network}", f"toolstack {host.toolstack}"]
        print(f"  {host.name} {host.address}: {', '.join([*words, vms, f'{host.memory_mib} MiB'])}")
    return 0 if seen.is_up else 1


@app.command(name="exec")
def execute(*command: Words) -> None:
    """Run a command inside the lab's network, as on a workstation beside the hosts."""
    lab = _existing()
    os.environ["SHOAL_LAB_DIR"] = str(lab.dir)
    os.environ["SHOAL_POOL_PASSWORD"] = lab.password_file.read_text()
    os.environ.setdefault("SHOAL_STATE", str(lab.dir / "shoal"))  # a lab made anew has new keys at the old addresses
    os.environ["SHOAL_STORAGE_VM_IMAGE"] = str(storage_vm_image.build(lab.cache))
    enter(lab)
    _become(list(command) or [os.environ.get("SHELL", "/bin/bash")])


@app.command
def run(host: str, *command: Words) -> None:
    """Run a command in a host's dom0 (a shell, if none is given)."""
    lab = _existing()
    _ssh(lab, _host(lab, host), list(command))


@app.command
def crash(host: str) -> None:
    """The host loses its power, at once."""
    lab = _existing()
    power.crash(lab, _host(lab, host))
    say(f"{host} is off")


@app.command
def boot(host: str) -> None:
    """Switch a host on and wait until it answers."""
    lab = _existing()
    with _alone(lab):
        power.boot(lab, _host(lab, host), dom0_image.build(lab.cache), say)


@app.command
def cut(host: str) -> None:
    """Pull the host's LAN cable."""
    lab = _existing()
    network.cut(lab, _host(lab, host))
    say(f"{host} is cut off")


@app.command
def heal(host: str) -> None:
    """Plug the host's LAN cable in again."""
    lab = _existing()
    network.heal(lab, _host(lab, host))
    say(f"{host} is on the LAN")


@app.command
def powercut() -> None:
    """All hosts lose their power at once."""
    power.power_cut(_existing())
    say("all hosts are off")


@app.command
def console(name: str) -> None:
    """Attach to a host's serial console (^] leaves), or follow what a VM says on its console."""
    lab = _existing()
    for host in lab.hosts:
        if host.name == name:
            _become(["socat", "-,raw,echo=0,escape=0x1d", f"UNIX-CONNECT:{hosts.console_socket(host)}"])
        for folder in (host.dir / "vms").glob("*"):
            if name in (folder.name, host.storage_vm_address) and storage_vm.is_running(lab, host, folder.name):
                _become(["tail", "-n", "100", "-F", str(folder / "console.log")])
    for host in lab.hosts:
        log = f"/var/log/xen/console/guest-{name}.log"
        if hosts.running(host) and _is_in_dom0(lab, host, log):
            _ssh(lab, host, ["tail", "-n", "100", "-F", log])
    raise CommandError(f"no host, storage VM (uuid or address) or guest {name!r}; see: shoal-lab status")


def _sized(count: int | None) -> Lab:
    lab = locate()
    made = (lab.dir / "lab.json").exists()
    if count is not None and made and count < lab.host_count:
        raise CommandError(f"this lab has {lab.host_count} hosts; for fewer, first: shoal-lab down --purge")
    if count is not None and not 1 <= count <= 9:
        raise CommandError("a lab has 1 to 9 hosts")
    return lab if count is None else locate(host_count=count)


def _existing() -> Lab:
    lab = locate()
    if not (NAMESPACES / lab.namespace).exists():
        raise CommandError(f"the lab in {lab.dir} is not up; first: shoal-lab up")
    return lab


def _host(lab: Lab, name: str) -> Host:
    try:
        return lab.host(name)
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error


@contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    """One `up` or `down` at a time; the lock goes with the process, however it ends."""
    path = lab.dir / "lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another shoal-lab is at work on this lab; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ssh_arguments(lab: Lab, host: Host) -> list[str]:
    options = {
        "UserKnownHostsFile": str(identity.known_hosts(host)),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "LogLevel": "ERROR",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-i", str(lab.ssh_key), *flags, f"root@{host.channel_dom0}"]


def _ssh(lab: Lab, host: Host, command: list[str]) -> None:
    argv = _ssh_arguments(lab, host)
    if sys.stdin.isatty() and sys.stdout.isatty():
        argv.insert(1, "-t")
    enter(lab)
    _become([*argv, shlex.join(command)] if command else argv)


def _is_in_dom0(lab: Lab, host: Host, path: str) -> bool:
    argv = [*_ssh_arguments(lab, host), shlex.join(["test", "-e", path])]
    return run_command(argv, timeout_s=30, namespace=lab.namespace, check=False).code == 0


def _become(argv: list[str]) -> None:
    """Go on as another program."""
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} was not found") from error


def main() -> int:
    if os.geteuid() != 0:
        print("shoal-lab needs root", file=sys.stderr)
        return 1
    words = sys.argv[1:]
    if len(words) > 1 and words[0] == "--dir":
        os.environ["SHOAL_LAB_DIR"] = words[1]
        words = words[2:]
    try:
        return app(words, result_action="return_int_as_exit_code_else_zero") or 0
    except (CommandError, RuntimeError, OSError) as error:
        print(f"shoal-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
