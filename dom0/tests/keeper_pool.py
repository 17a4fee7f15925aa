"""A pool on loopback with a keeper process on each host. Its storage is up while enough of its storage VMs run.

The toolstack is the lab's stand-in, the driver a small real executable; the volume services are one HTTPS server that
knows only what the keeper asks of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dom0.tests.failover_ceph import PaperCeph
from lab.xapi.loopback import DEFAULT_PLUGINS, LoopbackHost, LoopbackPool
from tests.ceph.certificates import Authority
from tests.contract.pools import DRIVER, log_in, vbd_record, vdi_record, vm_record

LAUNCH = Path(__file__).with_name("launch_keeper.py")
PYTHON = os.environ.get("SHOAL_DOM0_PYTHON", sys.executable)
FSID = "6a0a3c5e-52a1-4d0e-9d6f-0c5a10ab0001"


class LocalSocket:
    """/var/lib/xcp/xapi of a host: passes on to the stand-in's port, or hangs; `deaf_to` is what it hangs up on, once each."""

    def __init__(self, path: Path, port: int) -> None:
        self.hangs = False
        self.deaf_to: list[bytes] = []
        self._port = port
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()  # else it could go on waiting at the next socket of that number
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self.hangs:
                time.sleep(0.05)
            request = connection.recv(65536)
            heard = next((each for each in self.deaf_to if each in request), None)
            if heard is not None:
                self.deaf_to.remove(heard)
                return
            with socket.create_connection(("127.0.0.1", self._port), 5) as far:
                far.sendall(request)
                threading.Thread(target=pump, args=(connection, far), daemon=True).start()
                pump(far, connection)


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Services:
    """All volume services in one. `is_up` says whether Ceph answers, `silent_pools` lack OSDs that `rbd` does without."""

    def __init__(self, folder: Path, is_up: Callable[[], bool]) -> None:
        self.monitors = ["192.0.2.1:6789", "192.0.2.2:6789"]
        self.checks: list[dict[str, str]] = []
        self.is_up = is_up
        self.silent_pools: set[str] = set()
        self.ceph = PaperCeph()
        self.client_files = folder / "client"
        self._certify(folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        context.load_verify_locations(self.client_files / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _certify(self, folder: Path) -> None:
        authority = Authority.make()
        self.client_files.mkdir(parents=True)
        authority.write(self.client_files / "ca.pem")
        authority.issue("dom0", self.client_files / "client.pem", self.client_files / "client.key")
        authority.issue("volumes", folder / "server.pem", folder / "server.key", address="127.0.0.1")

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not self.is_up():
            return 503, {"error": {"code": "ceph_away", "message": "Ceph is away"}}
        if path == "/v1/members":
            return self.ceph.answer(method, path, body)
        if path == "/v1/status":
            ceph = {"fsid": FSID, "monitors": self.monitors, "health": "HEALTH_OK", "checks": self.checks}
            return 200, {"service": "shoal-volumes", "ceph": {**ceph, "members": self.ceph.members()}}
        _, _, _, pool, *rest = path.split("/")
        if pool in self.silent_pools and rest not in ([], ["fences"]):  # what the monitors know they say all the same
            return 504, {"error": {"code": "timeout", "message": "no answer from Ceph within 1 s"}}
        if rest:
            return self.ceph.answer(method, path, body)
        return 200, {"pool": pool, "fsid": FSID, "owner": None, "total_bytes": 1, "used_bytes": 0}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, answer = services._answer(self.command, self.path, json.loads(body or b"{}"))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class KeeperHost:
    """A host of the pool as its keeper sees it: a folder with what the keeper reads, and the process."""

    def __init__(self, folder: Path, host: LoopbackHost, services: Services, port: int) -> None:
        self.folder = folder
        self.host = host
        self.name = host.name
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        shutil.copytree(services.client_files, folder / "volumes")
        self.socket = LocalSocket(folder / "xapi", port)
        self.log.touch()
        (folder / "silent").touch()
        (folder / "pool.conf").symlink_to(host.root / "etc/xensource/pool.conf")  # which the toolstack writes
        self.boot()

    def boot(self) -> None:
        """It has just been switched on."""
        (self.folder / "booted").write_text(str(time.monotonic()))
        boot_id = str(uuid.uuid4())
        (self.folder / "boot_id").write_text(boot_id)
        proc = self.host.root / "proc/sys/kernel/random"
        proc.mkdir(parents=True, exist_ok=True)
        (proc / "boot_id").write_text(boot_id)

    def start(self) -> None:
        with self.log.open("ab") as log:
            argv = [PYTHON, "-ISB", str(LAUNCH), str(self.folder)]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()


class KeeperPool:
    """`with KeeperPool(folder, host_count=3) as pool:` Shoal has set it up, all runs, no keeper has been started."""

    def __init__(self, folder: Path, *, host_count: int = 1) -> None:
        self.toolstack = LoopbackPool(folder / "pool", host_count=host_count)
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True)
        self.services = Services(folder / "services", self.is_up)
        self.storage_vms: dict[str, str] = {}  # host → uuid
        self.ceph_works = True
        for host in self.toolstack.hosts.values():
            install_driver(host)
        self.hosts = {
            name: KeeperHost(folder / name, host, self.services, self.toolstack.local_ports[name])
            for name, host in self.toolstack.hosts.items()
        }
        self._ended = threading.Event()

    def __enter__(self) -> KeeperPool:
        self.toolstack.__enter__()
        self.api = log_in(self.toolstack)
        (self.ref,) = self.api.pool.get_all()
        self.api.pool.add_to_other_config(self.ref, "shoal:ssh-key", "a secret's uuid")
        self.refs = {self.api.host.get_name_label(ref): ref for ref in self.api.host.get_all()}
        for name, host in self.hosts.items():
            own = self.api.host.get_uuid(self.refs[name])
            (host.folder / "inventory").write_text(f"PRODUCT_BRAND='XCP-ng'\nINSTALLATION_UUID='{own}'\n")
            self._make_storage_vm(name)
        threading.Thread(target=self._serve_storage, daemon=True).start()
        self.wait(self.is_up, "the storage")
        self.sr = self.make_sr("rbd")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.kill()
            host.socket.close()
        self._ended.set()
        self.services.stop()
        self.toolstack.__exit__(None, None, None)

    # What there is

    def is_up(self) -> bool:
        """Whether Ceph has quorum."""
        running = [self.storage_vms.get(name) in host.host.guests.plans for name, host in self.hosts.items()]
        self.services.ceph.machines = {f"shoal-storage-{n}": r for n, r in zip(self.hosts, running, strict=True)}
        return self.ceph_works and sum(running) > len(running) / 2

    def pbd(self, name: str) -> dict[str, Any]:
        refs = self.api.SR.get_PBDs(self.sr)
        (found,) = [row for ref in refs if (row := self.api.PBD.get_record(ref))["host"] == self.refs[name]]
        return dict(found)

    def local_sr(self, host: str) -> str:
        refs = self.api.SR.get_by_name_label("Local storage")
        (found,) = [sr for sr in refs if self.api.PBD.get_host(self.api.SR.get_PBDs(sr)[0]) == self.refs[host]]
        return str(found)

    def plugged(self) -> list[str]:
        return [name for name in self.hosts if self.pbd(name)["currently_attached"]]

    def running(self, *vms: str) -> bool:
        return all(self.api.VM.get_power_state(vm) == "Running" for vm in vms)

    def messages(self) -> list[str]:
        return sorted(row["name"] for row in self.api.message.get_all_records().values())

    def bodies(self) -> dict[str, str]:
        return {row["name"]: row["body"] for row in self.api.message.get_all_records().values()}

    def make_lvm_sr(self, device: str, folder: Path) -> str:
        """An SR of type lvm that is called as the device; its driver finds it while the folder is there."""
        folder.mkdir()
        master = self.refs[self.toolstack.master.name]
        config = {"device": device, "path": str(folder)}
        return str(self.api.SR.create(master, config, "0", device, "", "lvm", "user", True, {}))

    def make_vm(self, name: str, *, marked: bool = True, disk: bool = True, sr: str = "", **more: Any) -> str:
        """A VM with a disk on the shared SR, or on another one."""
        mark = {"auto_poweron": "true"} if marked else {}
        vm = str(self.api.VM.create(vm_record(name, **{"other_config": mark, **more})))
        if disk:
            self.api.VBD.create(vbd_record(vm, self.api.VDI.create(vdi_record(sr or self.sr))))
        return vm

    def _make_storage_vm(self, host: str) -> None:
        marks = {"shoal:host": host, "shoal:settings": "digest", "auto_poweron": "true", "auto_poweroff": "true"}
        record = vm_record(
            f"shoal-storage-{host}", affinity=self.refs[host], other_config=marks, HVM_boot_policy="BIOS order"
        )
        vm = self.api.VM.create(record)
        self.storage_vms[host] = self.api.VM.get_uuid(vm)
        self.api.VBD.create(vbd_record(vm, self.api.VDI.create(vdi_record(self.local_sr(host)))))
        self.api.VM.start_on(vm, self.refs[host], False, False)

    def make_sr(self, pool: str) -> str:
        """An SR of type rbd on that pool."""
        config = {
            "path": str(self.storage / pool), "monitors": ",".join(self.services.monitors), "pool": pool,
            "user": "shoal-xen", "password": "the key", "volumes": self.services.endpoint, "fsid": FSID,
        }  # fmt: skip
        master = self.refs[self.toolstack.master.name]
        name = "shoal" if pool == "rbd" else f"shoal on {pool}"
        return str(self.api.SR.create(master, config, "0", name, "", "rbd", "user", True, {}))

    def _serve_storage(self) -> None:
        """The driver finds its folder while Ceph has quorum."""
        there, away = self.storage / "rbd", self.storage / "away"
        away.mkdir()
        while not self._ended.wait(0.02):
            if self.is_up() and away.exists():
                away.rename(there)
            elif not self.is_up() and there.exists():
                there.rename(away)

    # What is done to it

    def install_keepers(self) -> None:
        """They have run before, so the next boot is known for one."""
        self.start_keepers()
        self.wait(lambda: all(any("nothing to do" in line for line in h.said()) for h in self.hosts.values()), "calm")

    def power_cut(self) -> None:
        """Everything loses its power at once. What keepers have said before is gone, too."""
        for host in self.hosts.values():
            host.kill()
            host.log.write_text("")
            host.host.stop()
            host.host.guests.plans.clear()
        self.wait(lambda: (self.storage / "away").exists(), "the storage to go")

    def power_on(self, *keepers: str) -> None:
        """All hosts boot: their toolstacks start, then the keepers, of these hosts or of all."""
        for host in self.hosts.values():
            host.boot()
            host.host.start()
        self.api = log_in(self.toolstack)  # the old connection still reaches the toolstack that was
        self.start_keepers(*keepers)

    def start_keepers(self, *names: str) -> None:
        for name in names or self.hosts:
            self.hosts[name].start()

    def restart_toolstacks(self) -> None:
        for host in self.hosts.values():
            host.host.stop()
        time.sleep(0.2)
        for host in self.hosts.values():
            host.host.start()
        self.api = log_in(self.toolstack)

    def wait(self, met: Callable[[], Any], what: str, *, timeout_s: float = 150) -> None:
        deadline = time.monotonic() + timeout_s
        while not met():
            if time.monotonic() > deadline:
                said = {name: host.said()[-8:] for name, host in self.hosts.items()}
                raise AssertionError(
                    f"waited {timeout_s:g} s for {what}; the keepers said: {json.dumps(said, indent=1)}"
                )
            time.sleep(0.05)

    def wait_said(self, host: str, text: str) -> None:
        self.wait(lambda: any(text in line for line in self.hosts[host].said()), f"{host} to say {text!r}")


def install_driver(host: LoopbackHost) -> None:
    """The small driver as that of SR types `rbd` and `lvm`."""
    for name in ("RBDSR", "LVMSR"):
        executable = host.root / "opt/xensource/sm" / name
        shutil.copy(DRIVER, executable)
        executable.chmod(0o755)
    (host.root / "etc/xapi.conf.d/50-rbd.conf").write_text(f"sm-plugins={DEFAULT_PLUGINS} rbd\n")
