"""`python -m lab.xapi --dir LAB --host xen1`: the toolstack of one host of a lab. Runs inside the lab's network."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import threading
import time
from pathlib import Path

from lab import host as hosts
from lab import machine, storage_vm
from lab.identity import control_domain_uuid, host_uuid
from lab.topology import Host, Lab, locate
from lab.xapi import role, startup
from lab.xapi.agent import LocalAgent, RemoteAgent
from lab.xapi.built_in import Ext, Udev
from lab.xapi.certificate import server_context
from lab.xapi.dom0 import SshDom0
from lab.xapi.drivers import Drivers
from lab.xapi.hypervisor import StorageVms, XenGuests
from lab.xapi.seed import seed
from lab.xapi.toolstack import Peer, Settings, Toolstack
from lab.xapi.transfer import Transfers
from lab.xapi.web import Web

ANNOUNCE_EVERY_S = 2.0
BOOT_TIMEOUT_S = 300.0
SWITCH_TIMEOUT_S = 30.0

log = logging.getLogger("lab.xapi")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.xapi", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--host", required=True, help="the host whose toolstack this is")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(threadName)s: %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    lab = locate(arguments.dir)
    run(lab, lab.host(arguments.host))


def run(lab: Lab, host: Host) -> None:
    """Serve until killed."""
    settings = make_settings(lab, host)
    remotes = {name: RemoteAgent(peer, settings) for name, peer in settings.peers.items()}
    other = ""
    if settings.is_master and lab.database.exists() and (other := role.find_other_master(settings, remotes)):
        log.info("%s is the master by now", other)
        role.remember(settings, other)
        settings = make_settings(lab, host)
    dom0 = SshDom0(lab, host)
    drivers = Drivers(dom0, {"ext": Ext(settings.storage_dir), "udev": Udev(dom0)}, {}, threading.Lock())
    stop = threading.Event()
    hvm, pv = StorageVms(lab, host, dom0), XenGuests(dom0)
    hosts.wait_until_up(lab, host, timeout_s=BOOT_TIMEOUT_S)  # it may be the end of a reboot that brought us here

    def switch(verb: str) -> None:
        dom0.run(["systemctl", "--no-block", verb], timeout_s=SWITCH_TIMEOUT_S)

    if other:
        tell_role(settings, dom0)
    local = LocalAgent(settings, dom0, drivers, hvm, pv, Transfers(dom0), stop.set, switch)
    toolstack = Toolstack(settings, local, remotes)
    web = Web(toolstack, local, stop.set)
    if settings.is_master:
        seed(toolstack.db, settings)
        startup.take_office(toolstack)
        startup.register_drivers(toolstack, drivers)
    web.listen(host.channel_lab, 443, server_context(host.dir / "xapi.pem", host.name, host.address))
    web.listen(host.channel_lab, 80, None, is_local=True)
    log.info("%s serves XenAPI for %s", host.channel_lab, host.name)
    if settings.is_master:
        startup.Heartbeats(toolstack).start()
        threading.Thread(target=startup.host_started, args=(toolstack, host.name), daemon=True).start()
    else:
        threading.Thread(target=announce, args=(web,), daemon=True).start()
    machine.watch(host, on_reset=lambda: lose_power(lab, host, stop), on_end=lambda: end(lab, host, toolstack))
    stop.wait()
    restart(toolstack)


def tell_role(settings: Settings, dom0: SshDom0) -> None:
    """Before the toolstack answers as a member: dom0's file still says that it is the master."""
    try:
        role.tell(settings, dom0)
    except OSError as error:
        log.error("dom0 is not told of the role, until the new master is told of the start: %s", error)


def lose_power(lab: Lab, host: Host, stop: threading.Event) -> None:
    """The machine begins to boot anew: nothing of it goes on, this toolstack neither."""
    log.info("%s is reset", host.name)
    storage_vm.kill_all(lab, host)
    stop.set()


def end(lab: Lab, host: Host, toolstack: Toolstack) -> None:
    """The machine is off, and so is all that lived in it."""
    log.info("%s is off", host.name)
    storage_vm.kill_all(lab, host)
    toolstack.db.save()
    os._exit(0)


def announce(web: Web) -> None:
    """Tell the master that this member has started, as soon as it can be told."""
    while True:
        try:
            status, _ = web.ask_master("/lab/started", b"")
            if status == 200:
                return
            log.warning("the master answered %s", status)
        except OSError as error:
            log.info("waiting for the master: %s", error)
        time.sleep(ANNOUNCE_EVERY_S)


def restart(toolstack: Toolstack) -> None:
    """Begin anew in the same process: its pid is how the lab knows it."""
    time.sleep(0.3)  # the answer that announces it goes out first
    log.info("restarting")
    toolstack.db.save()
    os.execv(sys.executable, [sys.executable, "-m", "lab.xapi", *sys.argv[1:]])


def make_settings(lab: Lab, host: Host) -> Settings:
    peers = {
        one.name: Peer(one.name, one.address, 443, one.mac, host_uuid(lab, one), control_domain_uuid(lab, one))
        for one in lab.hosts
    }
    return Settings(
        host=host.name,
        master=role.read(host.dir / "pool.conf", lab.hosts[0].name),
        role_file=host.dir / "pool.conf",
        peers=peers,
        password=lambda: lab.password_file.read_text().strip(),
        pool_secret=pool_secret(lab.dir / "pool-secret"),
        database=lab.database,
        storage_dir=host.dir / "sr",
        source_address=host.channel_lab,
    )


def pool_secret(file: Path) -> str:
    """How the pool's hosts know each other; made by whichever comes first."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    deadline = time.monotonic() + 5
    while not (text := file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return text


if __name__ == "__main__":
    main()
