"""Runs the real volume service inside the little Ceph, and asks it over HTTPS as a client with a certificate."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from lab.ports import Port
from shoal.plan.ceph_user import NOOUT
from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Dialog, Inside

KEPT_S = 30  # the service closes a connection on which nothing was asked for a minute
CAPS = ("mon", f"profile rbd, {NOOUT}", "osd", "profile rbd pool=rbd, profile rbd pool=other, profile rbd pool=passing")


class Service:
    """One process of the service. `files` holds ca.pem, client.pem and client.key for clients."""

    def __init__(self, cluster: Cluster, files: Path, authority: Authority) -> None:
        self.cluster = cluster
        self.files = files
        self.authority = authority
        self._port = Port()
        self.process: subprocess.Popen[bytes] | None = None
        self._sweeper: Dialog | None = None
        self._guest: Inside | None = None
        self._kept = threading.local()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def endpoint(self) -> str:
        return f"{self.cluster.address}:{self.port}"

    @property
    def log(self) -> Path:
        return self.inside / "service.log"

    @property
    def inside(self) -> Path:
        return self.cluster.files / f"volumes-{self.port}"

    def start(self, *, dying_at: int = 0, stopping_at: int = 0) -> None:
        """With `dying_at` it kills itself before that change in Ceph, counted from the first one for a request; with
        `stopping_at` it stops there, until `go_on`.
        """
        if not self.inside.exists():
            self._write_files()
        config = f"/scratch/{self.inside.name}/config.json"
        argv: tuple[str, ...] = ("/opt/shoal/volumes/__main__.py", "--config", config)
        if dying_at:
            argv = ("/repository/tests/ceph/dying_service.py", config, str(dying_at))
        if stopping_at:
            argv = ("/repository/tests/ceph/dying_service.py", config, str(stopping_at), "stop")
        self.process = self.cluster.start_process("python3", "-B", *argv, log=self.log)
        self.cluster.wait_for(self._listens, 60, f"the volume service (see {self.log})")

    def has_stopped(self) -> bool:
        return Path(f"/proc/{self._pid()}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def stand_still(self) -> None:
        os.kill(self._pid(), signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        assert self.process is not None
        return self.cluster.pid_of(self.process)

    def kill(self) -> None:
        for dialog in (self._sweeper, self._guest):
            if dialog is not None:
                dialog.stop()
        self._sweeper = self._guest = None
        if self.process is None:
            return
        if self.process.poll() is None:
            self.cluster.kill_process(self.process)
        self.process = None

    def connect(self, *, certificate: bool = True, timeout_s: float = 40) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.files / "ca.pem"))
        if certificate:
            context.load_cert_chain(self.files / "client.pem", self.files / "client.key")
        return http.client.HTTPSConnection(self.cluster.address, self.port, context=context, timeout=timeout_s)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Each thread has a connection, and keeps it: a handshake takes longer than most requests."""
        connection = self._connection()
        try:
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            found = response.status, json.loads(response.read())
        except BaseException:
            self._kept.process = None  # not to be used again
            raise
        self._kept.until = time.monotonic() + KEPT_S
        return found

    @property
    def guest(self) -> Inside:
        """Reads and writes disks of the pool rbd, each time opened anew."""
        if self._guest is None:
            self._guest = Inside(self.cluster)
        return self._guest

    def sweep(self, pool: str = "rbd", namespace: str = "", age_s: float = 0, **more: str) -> None:
        """A whole sweep now, as if everything half made that is older than that were old. See `sweep_now.py`."""
        if self._sweeper is None:
            self._sweeper = self.start_sweeper()
        self._sweeper.say({"pool": pool, "namespace": namespace, "age_s": age_s, **more})
        self._sweeper.answer()

    def start_sweeper(self, dying_at: int = 0) -> Dialog:
        """With `dying_at` it kills itself before that change in Ceph."""
        return Dialog(self.cluster, "sweep_now.py", f"/scratch/{self.inside.name}", str(dying_at))

    def _connection(self) -> http.client.HTTPSConnection:
        """To this process of the service: another that has taken its port knows nothing of an old one's."""
        kept = self._kept
        if getattr(kept, "process", None) is not self.process or self.process is None or time.monotonic() > kept.until:
            if hasattr(kept, "connection"):
                kept.connection.close()
            kept.connection, kept.process, kept.until = self.connect(), self.process, time.monotonic() + KEPT_S
        found: http.client.HTTPSConnection = kept.connection
        return found

    def _listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the volume service ended: {self.log.read_text()[-2000:]}")
        try:
            connection = self.connect(timeout_s=2)
            connection.connect()
            connection.close()
        except OSError:
            time.sleep(0.05)
            return False
        return True

    def _write_files(self) -> None:
        self.inside.mkdir()
        self.authority.write(self.inside / "ca.pem")
        self.authority.issue(
            "volumes", self.inside / "server.pem", self.inside / "server.key", address=self.cluster.address
        )
        values = {
            "listen": [self.cluster.address, self.port],
            "ceph_conf": "/scratch/ceph.conf",
            "user": "shoal-volumes",
            "keyring": "/scratch/shoal-volumes.keyring",
            "certificate": "server.pem",
            "key": "server.key",
            "ca": "ca.pem",
            "clients": "clients.json",
        }
        (self.inside / "clients.json").write_text('["dom0"]')
        (self.inside / "config.json").write_text(json.dumps(values))


def write_client_files(authority: Authority, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    authority.write(folder / "ca.pem")
    authority.issue("dom0", folder / "client.pem", folder / "client.key")
