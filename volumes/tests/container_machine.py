"""A storage VM as its container service sees it: Docker's socket, cephadm's units, systemctl; each as small as can be.

The service itself is the real one, a process. What runs is a file per unit in `running/`, which systemctl makes and
removes and of which Docker's socket tells.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lab.ports import Port
from tests.ceph.certificates import Authority

LAUNCH = Path(__file__).with_name("launch_containers.py")
FSID = "6a0a3c5e-52a1-4d0e-9d6f-0c5a10ab0001"
SYSTEMCTL = """#!/bin/sh
shift
echo "$@" >>"$MACHINE/systemctl.log"
case "$1" in
    start|restart) [ -e "$MACHINE/broken" ] || touch "$MACHINE/running/$2" ;;
    stop) rm -f "$MACHINE/running/$2" ;;
    show) shift 2; for unit; do printf 'ExecMainStatus=143\\nId=%s\\n\\n' "$unit"; done ;;
esac
"""


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Machine:
    """`with Machine(folder, authority, "xen1", port) as machine:` mon, osd and the volume service run."""

    def __init__(self, folder: Path, authority: Authority, host: str, *, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self.address = address
        self.host = host
        self._port = Port(address)
        self.port = self._port.number
        self.asked: list[str] = []  # of Docker
        self.extra: list[dict[str, Any]] = []  # containers that are no daemons of Ceph's
        self._authority = authority
        name = f"shoal-storage-{host}"
        daemons = (f"mon.{name}", f"mgr.{name}.abcdef", "osd.0", f"container.shoal-volumes.{name}")
        self.units = {daemon.split(".")[0]: f"ceph-{FSID}@{daemon}.service" for daemon in daemons}
        self._make_files()

    def __enter__(self) -> Machine:
        self._docker = UnixServer(str(self.folder / "docker.sock"), self._handler())
        threading.Thread(target=self._docker.serve_forever, args=(0.05,), daemon=True).start()
        env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "MACHINE": str(self.folder)}
        argv = [sys.executable, "-B", str(LAUNCH), str(self.folder), str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        self._wait_until_it_listens()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._docker.shutdown()
        self._docker.server_close()
        self._port.give_back()

    def name(self, kind: str) -> str:
        """Of a daemon's container."""
        cluster, _, daemon = self.units[kind].removesuffix(".service").partition("@")
        return f"{cluster}-{daemon.replace('.', '-')}"

    def done(self) -> list[str]:
        """What systemctl was told to change."""
        log = self.folder / "systemctl.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if not line.startswith(("show", "reset-failed"))]

    def ask(self, method: str, target: str, *, who: str | None = None) -> tuple[int, dict[str, Any]]:
        connection = self.connect(who=self.host if who is None else who)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def connect(self, *, who: str) -> http.client.HTTPSConnection:
        """With a certificate of this name, or without one for ""."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if who:
            pem, key = self.folder / f"{who}.pem", self.folder / f"{who}.key"
            if not pem.exists():
                self._authority.issue(who, pem, key)
            context.load_cert_chain(pem, key)
        return http.client.HTTPSConnection(self.address, self.port, context=context, timeout=20)

    def _make_files(self) -> None:
        for name in ("bin", "running", f"units/ceph-{FSID}.target.wants"):
            (self.folder / name).mkdir(parents=True)
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        for unit in self.units.values():
            (self.folder / f"units/ceph-{FSID}.target.wants" / unit).touch()
            (self.folder / "running" / unit).touch()
        self._authority.write(self.folder / "ca.pem")
        self._authority.issue("server", self.folder / "server.pem", self.folder / "server.key", address=self.address)
        values = {
            "listen": [self.address, 1], "host": self.host, "user": "nobody", "ceph_conf": "config.json",
            "keyring": "config.json", "certificate": "server.pem", "key": "server.key", "ca": "ca.pem",
            "clients": "none.json",
        }  # fmt: skip
        (self.folder / "config.json").write_text(json.dumps(values))

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            try:
                socket.create_connection((self.address, self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def _answer(self, path: str) -> Any:
        """Docker's; with what changes from one moment to the next."""
        now = time.time()
        if path == "/info":
            about = {"ID": "an id", "Driver": "overlay2", "NCPU": 2, "IPv4Forwarding": True, "Containers": 99}
            return {**about, "SystemTime": str(now), "NGoroutines": int(now), "HttpProxy": "http://user:secret@proxy"}
        if path == "/version":
            return {"Version": "26.1.5", "ApiVersion": "1.45", "GitCommit": "411e817", "Components": [{"Name": "it"}]}
        assert path == "/containers/json?all=1", path
        return [*self.extra, *(self._container(kind) for kind in self.units if self._runs(kind))]

    def _runs(self, kind: str) -> bool:
        return (self.folder / "running" / self.units[kind]).exists()

    def _container(self, kind: str) -> dict[str, Any]:
        started = (self.folder / "running" / self.units[kind]).stat().st_mtime_ns
        return {
            "Id": hashlib.sha256(f"{kind} {started}".encode()).hexdigest(),
            "Names": [f"/{self.name(kind)}"],
            "Image": "quay.io/ceph/ceph:v18",
            "Command": f"/usr/bin/ceph-{kind} -n it",
            "Created": 1700000000,
            "State": "running",
            "Status": f"Up {time.monotonic_ns()} nanoseconds",
            "Ports": [],
            "Labels": {"ceph": "True"},
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        machine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                machine.asked.append(f"{self.command} {self.path}")
                data = json.dumps(machine._answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
