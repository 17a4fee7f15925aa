"""A pool on this machine's loopback, for tests that need no lab: each dom0 is a folder, guests are only remembered.

with LoopbackPool(folder) as pool:
    session = XenAPI.Session(pool.url, ignore_ssl=True)
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.ports import Port
from lab.xapi import role, startup
from lab.xapi.agent import LocalAgent, RemoteAgent
from lab.xapi.built_in import Ext, Udev
from lab.xapi.certificate import server_context
from lab.xapi.dom0 import LocalDom0
from lab.xapi.drivers import Drivers
from lab.xapi.failure import internal_error
from lab.xapi.hypervisor import Disk, Plan
from lab.xapi.seed import seed
from lab.xapi.toolstack import Peer, Settings, Toolstack
from lab.xapi.transfer import Transfers
from lab.xapi.web import Listener, Web

DEFAULT_PLUGINS = (
    "ext nfs iscsi lvmoiscsi dummy file hba rawhba udev iso lvm lvmohba lvmofcoe shm smb"  # as /etc/xapi.conf has it
)
PASSWORD = "loopback"


class RememberedGuests:
    """Guests that run nowhere. One that is saved leaves a file in its dom0, as `xl save` does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plans: dict[str, Plan] = {}

    def start(self, plan: Plan) -> int:
        self.plans[plan.uuid] = plan
        return 1

    def shutdown(self, uuid: str, *, timeout_s: float) -> bool:  # noqa: ARG002
        self.plans.pop(uuid, None)
        return True

    def destroy(self, uuid: str) -> None:
        self.plans.pop(uuid, None)

    def running(self) -> dict[str, int]:
        return dict.fromkeys(self.plans, 1)

    def networks(self) -> dict[str, dict[str, str]]:
        return {own: {"0/ip": "192.0.2.1"} for own in self.plans}

    def plug(self, uuid: str, disk: Disk) -> None:
        """Nothing to do."""

    def unplug(self, uuid: str, userdevice: str) -> None:
        """Nothing to do."""

    def save(self, uuid: str, file: str) -> None:
        state = self.root / file[1:]
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(self.plans.pop(uuid).name_label * 100_000)

    def restore(self, plan: Plan, file: str) -> int:
        if (self.root / file[1:]).read_text() != plan.name_label * 100_000:
            raise internal_error("this is not what was saved")
        return self.start(plan)


class LoopbackHost:
    """One host: its toolstack, its dom0's folder (`root`), the ports it answers on."""

    def __init__(self, pool: LoopbackPool, name: str) -> None:
        self.name = name
        self.dir = pool.dir / name
        self.root = self.dir / "root"
        self.guests = RememberedGuests(self.root)
        self.restarts = threading.Event()
        self.switched: list[str] = []  # what its power switch was told; it is no machine that would obey
        self._pool = pool
        self._listeners: list[Listener] = []
        (self.root / "opt/xensource/sm").mkdir(parents=True, exist_ok=True)
        (self.root / "etc/xapi.conf.d").mkdir(parents=True, exist_ok=True)
        (self.root / "var/tmp/lab-state").mkdir(parents=True, exist_ok=True)
        configuration = self.root / "etc/xapi.conf"
        if not configuration.exists():
            configuration.write_text(f"sm-plugins={DEFAULT_PLUGINS}\n")

    @property
    def address(self) -> str:
        return self._pool.peers[self.name].address

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self._pool.peers[self.name].port}"

    def start(self) -> None:
        """Start the toolstack and wait until its start is over."""
        settings = self._pool.settings(self.name)
        remotes = {name: RemoteAgent(peer, settings) for name, peer in settings.peers.items()}
        dom0 = LocalDom0(self.name, self.root)
        if settings.is_master and (other := role.find_other_master(settings, remotes)):
            role.follow(settings, dom0, other)
            settings = self._pool.settings(self.name)
        drivers = Drivers(dom0, {"ext": Ext(settings.storage_dir), "udev": Udev(dom0)}, {}, threading.Lock())
        transfers = Transfers(dom0)
        local = LocalAgent(
            settings, dom0, drivers, self.guests, self.guests, transfers, self.restarts.set, self.switched.append
        )
        self.toolstack = Toolstack(settings, local, remotes)
        self.web = Web(self.toolstack, local, self.restarts.set)
        if settings.is_master:
            seed(self.toolstack.db, settings)
            startup.take_office(self.toolstack)
            startup.register_drivers(self.toolstack, drivers)
            self._pool.master = self
        own = self._pool.peers[self.name]
        tls = server_context(self.dir / "xapi.pem", self.name, own.address)
        local_port = self._pool.local_ports[self.name]
        self._listeners = [
            self.web.listen(own.address, own.port, tls),
            self.web.listen("127.0.0.1", local_port, None, is_local=True),
        ]
        (self.root / "local-port").write_text(str(local_port))  # in place of /var/lib/xcp/xapi
        startup.host_started(self._pool.master.toolstack, self.name)

    def stop(self) -> None:
        """As if the process were killed: the database's file is all that is left."""
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
        self._listeners = []
        if self.toolstack.settings.is_master:
            self.toolstack.db.save()


class LoopbackPool:
    """Hosts xen1 … xenN, the first the master. `prepare` is called with each host before its toolstack starts."""

    def __init__(self, directory: Path, *, host_count: int = 1) -> None:
        self.dir = directory
        names = [f"xen{number}" for number in range(1, host_count + 1)]
        self._ports = [Port() for _ in range(2 * host_count)]
        numbers = [port.number for port in self._ports]
        self.peers = {name: Peer(name, f"127.0.0.{n}", numbers[n - 1]) for n, name in enumerate(names, 1)}
        self.local_ports = dict(zip(names, numbers[host_count:], strict=True))
        self.hosts = {name: LoopbackHost(self, name) for name in names}
        self.master = self.hosts["xen1"]

    def settings(self, host: str) -> Settings:
        return Settings(
            host=host,
            master=role.read(self.dir / host / "pool.conf", "xen1"),
            role_file=self.dir / host / "pool.conf",
            peers=self.peers,
            password=lambda: PASSWORD,
            pool_secret="loopback pool secret",
            database=self.dir / "xapi.json",
            storage_dir=self.dir / host / "sr",
            dead_after_s=1.0,
        )

    @property
    def url(self) -> str:
        return self.master.url

    def __enter__(self) -> Self:
        for host in self.hosts.values():
            host.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.stop()
        for port in self._ports:
            port.give_back()
