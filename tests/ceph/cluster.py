"""Starts and ends the little Ceph. Needs root. Ports are free ones, so several can run at once.

It listens on loopback, or on an address in a network namespace, where a lab's hosts reach it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from lab.images import ceph as ceph_image
from lab.ports import Port
from lab.topology import locate

REPOSITORY = Path(__file__).resolve().parents[2]
INIT = Path(__file__).with_name("init.sh")
CONF = """[global]
fsid = {fsid}
mon_host = {addresses}
public_network = {address}/32
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
auth_allow_insecure_global_id_reclaim = false
mon_warn_on_pool_no_redundancy = false
mon_data_avail_warn = 1
mon_data_avail_crit = 0
mon_mds_skip_sanity = true
paxos_propose_interval = 0.1
ms_bind_ipv6 = false
log_to_file = false
log_to_stderr = false
err_to_stderr = true
setuser_match_path =
run_dir = /run/ceph
[mon]
mon_data = /scratch/mon
[mgr]
mgr_data = /scratch/mgr
mgr_initial_modules =
[osd]
osd_data = /scratch/osd
osd_objectstore = bluestore
bluestore_block_size = 8589934592
osd_memory_target = 1073741824
osd_snap_trim_sleep = 0.001
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
"""


def tree() -> Path:
    """The tree of the lab's Ceph image, from its cache or built now (about a minute)."""
    return ceph_image.build(locate().cache) / "root"


class Cluster:
    def __init__(self, directory: Path, *, address: str = "127.0.0.1", namespace: str | None = None) -> None:
        self.directory = directory
        self.address = address
        self._network = [] if namespace is None else ["nsenter", f"--net=/run/netns/{namespace}"]
        self.fsid = str(uuid.uuid4())
        self.v1_address = ""
        self._ports = [Port(), Port()]
        self._namespace: subprocess.Popen[bytes] | None = None
        self._init_pid = 0
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def files(self) -> Path:
        """A folder that is /scratch inside."""
        return self.directory / "ceph"

    def start(self) -> None:
        if os.geteuid() != 0:
            raise PermissionError("the small Ceph needs root: run `sudo make test-ceph`")
        self._enter_namespaces()
        v2, v1 = (port.number for port in self._ports)
        self.v1_address = f"{self.address}:{v1}"
        addresses = f"[v2:{self.address}:{v2},v1:{self.v1_address}]"
        (self.files / "ceph.conf").write_text(CONF.format(fsid=self.fsid, addresses=addresses, address=self.address))
        self._make_monitor(addresses)
        self.start_daemon("mon", "ceph-mon", "-i", "a")
        self.ceph("-s", timeout_s=30)
        self._make_osd()
        self.start_daemon("osd", "ceph-osd", "-i", "0")
        self.make_key("mgr.x", "/scratch/mgr", "mon", "allow profile mgr", "osd", "allow *")
        self.start_daemon("mgr", "ceph-mgr", "-i", "x")
        self.wait_for(lambda: json.loads(self.ceph("osd", "stat", "-f", "json"))["num_up_osds"] == 1, 60, "the OSD")
        self.ceph("osd", "set-require-min-compat-client", "mimic")
        self.make_pool("rbd")

    def stop(self) -> None:
        """Kill the namespace's first process: the kernel takes the rest with it, mounts included."""
        if self._namespace is not None:
            self._namespace.kill()
            self._namespace.wait(30)
            for daemon in self._daemons.values():
                daemon.wait(30)
            self._namespace = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *argv: str, timeout_s: float = 60, stdin: str | None = None) -> str:
        """A command inside; its standard output."""
        done = subprocess.run(
            [*self._inside(), *argv], timeout=timeout_s, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def start_process(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen([*self._inside(), *argv], stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def start_dialog(self, *argv: str) -> subprocess.Popen[str]:
        """A process inside that is spoken to by its standard input and output."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._inside(), *argv], stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def ceph(self, *arguments: str, timeout_s: float = 60) -> str:
        admin = ("--keyring", "/scratch/admin.keyring", "--connect-timeout", "20")
        return self.run("ceph", "-c", "/scratch/ceph.conf", *admin, *arguments, timeout_s=timeout_s)

    def rbd(self, *arguments: str) -> str:
        return self.run("rbd", "-c", "/scratch/ceph.conf", "--keyring", "/scratch/admin.keyring", *arguments)

    def make_pool(self, name: str) -> None:
        self.ceph("osd", "pool", "create", name, "8", "8")
        self.ceph("osd", "pool", "application", "enable", name, "rbd")

    def make_user(self, name: str, *caps: str) -> str:
        """Its key; the keyring is /scratch/<name>.keyring inside."""
        self.ceph("auth", "get-or-create", f"client.{name}", *caps, "-o", f"/scratch/{name}.keyring")
        return self.ceph("auth", "print-key", f"client.{name}").strip()

    def start_daemon(self, name: str, *argv: str) -> None:
        command = (*argv, "-f", "-c", "/scratch/ceph.conf")
        self._daemons[name] = self.start_process(*command, log=self.files / f"{name}.log")

    def restart_daemon(self, name: str) -> None:
        program = {"mon": ("ceph-mon", "-i", "a"), "osd": ("ceph-osd", "-i", "0"), "mgr": ("ceph-mgr", "-i", "x")}
        self.start_daemon(name, *program[name])

    def running(self) -> set[str]:
        return set(self._daemons)

    def kill_daemon(self, name: str) -> None:
        """At once, as when the power goes."""
        self.kill_process(self._daemons.pop(name))

    def kill_process(self, parent: subprocess.Popen[Any]) -> None:
        """Kill what `start_process` started: nsenter stays the parent, so the process itself is its child."""
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        for pid in [*map(int, children), parent.pid]:
            os.kill(pid, 9)
        parent.wait(30)

    def pid_of(self, parent: subprocess.Popen[Any]) -> int:
        """Of the process itself that `start_process` or `start_dialog` started."""
        return int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])

    def wait_for(self, ready: object, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s} s for {what}")
            time.sleep(0.3)

    def _enter_namespaces(self) -> None:
        self.files.mkdir(parents=True)
        flags = ("--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
        argv = [*self._network, "unshare", *flags, "sh", str(INIT), str(tree()), str(self.directory), str(REPOSITORY)]
        with (self.files / "init.log").open("wb") as log:
            self._namespace = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self.wait_for((self.directory / "ready").exists, 60, "the namespace of the test's Ceph")
        except TimeoutError as error:
            raise RuntimeError(f"{error}: {(self.files / 'init.log').read_text()}") from None
        # nsenter becomes the program it runs, so this is unshare, and its one child is the first process inside.
        pid = self._namespace.pid
        self._init_pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _inside(self) -> list[str]:
        root = str(self.directory / "root")
        return ["nsenter", "--target", str(self._init_pid), "--mount", "--pid", "--net", "chroot", root]

    def _make_monitor(self, addresses: str) -> None:
        tool = ("ceph-authtool", "--create-keyring", "--gen-key")
        everything = [part for kind in ("mon", "osd", "mgr", "mds") for part in ("--cap", kind, "allow *")]
        self.run(*tool, "/scratch/mon.keyring", "-n", "mon.", "--cap", "mon", "allow *")
        self.run(*tool, "/scratch/admin.keyring", "-n", "client.admin", *everything)
        self.run("ceph-authtool", "/scratch/mon.keyring", "--import-keyring", "/scratch/admin.keyring")
        self.run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", addresses, "/scratch/monmap")
        files = ("--monmap", "/scratch/monmap", "--keyring", "/scratch/mon.keyring")
        self.run("ceph-mon", "--mkfs", "-i", "a", "-c", "/scratch/ceph.conf", *files)

    def make_key(self, name: str, folder: str, *caps: str) -> None:
        self.run("mkdir", "-p", folder)
        self.ceph("auth", "get-or-create", name, *caps, "-o", f"{folder}/keyring")

    def _make_osd(self) -> None:
        osd_uuid = str(uuid.uuid4())
        self.ceph("osd", "new", osd_uuid)
        self.make_key("osd.0", "/scratch/osd", "mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_uuid, "-c", "/scratch/ceph.conf", timeout_s=120)
