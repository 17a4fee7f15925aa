"""Three hosts at one pool: what they can do, what each answer may be, and what the pool then holds.

`Model` is the pool as it should be. An operation runs against the real one and then says whether the model explains its
answer; of operations that ran at once, some order must explain all.
"""

from __future__ import annotations

import copy
import itertools
import shutil
import threading
import time
import uuid
import xmlrpc.client
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dom0.tests.ceph_kernel import Agent, CephKernel
from dom0.tests.host import KEY, Host
from dom0.tests.toolstack import Toolstack
from tests.ceph.service import Service

HOSTS = 3
MIB = 1 << 20
IN_USE, UNAVAILABLE = 24, 46
KILL_AFTER_S = 0.15  # about when a driver has its interpreter up and its request on the way


class SharedToolstack(Toolstack):
    """One database for all hosts, one call at a time."""

    def __init__(self, path: Path) -> None:
        self._one = threading.Lock()
        super().__init__(path)

    def answer(self, method: str, params: list[Any]) -> Any:
        with self._one:
            return copy.deepcopy(super().answer(method, params))


@dataclass
class Disk:
    """`content` is what is on it, `writer` the host that has it for writing, `of` the disk a snapshot was taken of.

    `reset` is what it will come back to at a start, if it is one that forgets: content and size.
    """

    size_bytes: int
    content: str = ""
    writer: int | None = None
    readers: set[int] = field(default_factory=set)
    of: str | None = None
    reset: tuple[str, int] | None = None

    @property
    def is_free(self) -> bool:
        return self.writer is None and not self.readers


Model = dict[str, Disk]


@dataclass
class Outcome:
    """What a call came to: an answer, or the number of a fault."""

    answer: Any = None
    fault: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"fault {self.fault}: {self.text[:200]}" if self.fault else str(self.answer)


class Pool:
    """The real thing: three drivers, three kernels, two volume services, one database, one Ceph."""

    def __init__(self, folder: Path, services: list[Service]) -> None:
        self.services = services
        self.cluster = services[0].cluster
        self.toolstack = SharedToolstack(folder / "xapi")
        self.master = 0
        self.hosts = [self._host(folder / f"host{number}", number) for number in range(HOSTS)]
        self.hosts[0].call("sr_create", args=("0",))
        info = self.hosts[0].call("sr_get_driver_info")
        self.able = {name.split("/")[0] for name in info["capabilities"]}

    def _host(self, folder: Path, number: int) -> Host:
        order = [service.endpoint for service in self.services]
        order = order[number % len(order) :] + order[: number % len(order)]
        agent = Agent(self.cluster)
        made = Host(
            folder, self.services[0].files, order, kernel=lambda at: CephKernel(at, agent), toolstack=self.toolstack
        )
        if number:
            made.sr, made.secret = self.hosts_sr
        self.hosts_sr = made.sr, made.secret
        self.toolstack.secrets[made.secret] = KEY
        made.device_config["password_secret"] = made.secret
        return made

    def kernel(self, host: int) -> CephKernel:
        kernel = self.hosts[host].kernel
        assert isinstance(kernel, CephKernel)
        return kernel

    def call(self, host: int, command: str, vdi: str | None = None, **keys: Any) -> Outcome:
        if vdi is not None:
            records = [record for record in list(self.toolstack.vdis.values()) if record["uuid"] == vdi]
            keys.setdefault("vdi_location", records[0]["location"] if records else vdi)
        try:
            return Outcome(self.hosts[host].call(command, vdi, **keys))
        except xmlrpc.client.Fault as fault:
            return Outcome(fault=fault.faultCode, text=fault.faultString)

    def crash(self, host: int) -> None:
        """The host loses its power and is declared dead; it is back at once, empty."""
        self.kernel(host).agent.kill(self.cluster)
        dead = self.kernel(host).crash()
        self.kernel(host).agent = Agent(self.cluster)
        shutil.rmtree(self.hosts[host].folder / "links", ignore_errors=True)
        self.kernel(host).agent.ask("fence", addresses=dead)

    def content(self, host: int, name: str) -> str:
        return str(self.kernel(host).agent.ask("read", token=self.kernel(host).token(name))["text"])

    def write(self, host: int, name: str, text: str) -> None:
        self.kernel(host).agent.ask("write", token=self.kernel(host).token(name), text=text)

    def stop(self) -> None:
        for number, host in enumerate(self.hosts):
            self.kernel(number).agent.stop()
            host.kernel.stop()
        self.toolstack.stop()


class Operation:
    """`explains` changes the model as the outcome says, or says that it cannot be."""

    def __init__(self, host: int, disk: str = "") -> None:
        self.host = host
        self.disk = disk

    def __str__(self) -> str:
        return f"{type(self).__name__} on {self.host} {self.disk[:8]}"

    def run(self, pool: Pool) -> Outcome:
        raise NotImplementedError

    def explains(self, model: Model, outcome: Outcome) -> bool:
        raise NotImplementedError


class Create(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(
            pool.master,
            "vdi_create",
            args=(str(64 * MIB), "disk", "", "OpaqueRef:NULL", "false", "19700101T00:00:00Z", "", "false"),
            vdi_sm_config={},
            vdi_type="user",
        )

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault or outcome.answer["uuid"] in model:
            return False
        model[outcome.answer["uuid"]] = Disk(64 * MIB)
        return True


class Delete(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(pool.master, "vdi_delete", self.disk)

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault:
            return outcome.fault == IN_USE and not model[self.disk].is_free
        if not model[self.disk].is_free:
            return False
        del model[self.disk]
        return True


class Activate(Operation):
    """For writing, as xapi does it: attached first."""

    def run(self, pool: Pool) -> Outcome:
        attached = pool.call(self.host, "vdi_attach", self.disk, args=("true",))
        return attached if attached.fault else pool.call(self.host, "vdi_activate", self.disk, args=("true",))

    def explains(self, model: Model, outcome: Outcome) -> bool:
        disk = model[self.disk]
        if outcome.fault:
            return outcome.fault == UNAVAILABLE and disk.writer not in (None, self.host)
        if disk.writer not in (None, self.host):
            return False
        disk.writer = self.host
        return True


class ActivateToRead(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(self.host, "vdi_activate", self.disk, args=("false",))

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault:
            return False
        model[self.disk].readers.add(self.host)
        return True


class Deactivate(Operation):
    def run(self, pool: Pool) -> Outcome:
        done = pool.call(self.host, "vdi_deactivate", self.disk)
        return done if done.fault else pool.call(self.host, "vdi_detach", self.disk)

    def explains(self, model: Model, outcome: Outcome) -> bool:
        disk = model[self.disk]
        disk.readers.discard(self.host)
        disk.writer = None if disk.writer == self.host else disk.writer
        return not outcome.fault


class Resize(Operation):
    online = False

    def run(self, pool: Pool) -> Outcome:
        self.online = "VDI_RESIZE_ONLINE" in pool.able
        self.size_bytes = int(pool.toolstack.vdis[pool.toolstack.ref(self.disk)]["virtual_size"]) + MIB
        return pool.call(pool.master, "vdi_resize", self.disk, args=(str(self.size_bytes),))

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault:
            return outcome.fault == IN_USE and not self.online and not model[self.disk].is_free
        model[self.disk].size_bytes = self.size_bytes
        return self.online or model[self.disk].is_free


class Scan(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(pool.master, "sr_scan")

    def explains(self, model: Model, outcome: Outcome) -> bool:
        return not outcome.fault


class Update(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(self.host, "vdi_update", self.disk)

    def explains(self, model: Model, outcome: Outcome) -> bool:
        return not outcome.fault


class Snapshot(Operation):
    def run(self, pool: Pool) -> Outcome:
        return pool.call(pool.master, "vdi_snapshot", self.disk, driver_params={})

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault or outcome.answer["uuid"] in model:
            return False
        taken_of = model[self.disk]
        model[outcome.answer["uuid"]] = Disk(taken_of.size_bytes, taken_of.content, of=self.disk)
        return True


class Clone(Operation):
    """Of a disk or of a snapshot."""

    def run(self, pool: Pool) -> Outcome:
        return pool.call(pool.master, "vdi_clone", self.disk, driver_params={})

    def explains(self, model: Model, outcome: Outcome) -> bool:
        if outcome.fault or outcome.answer["uuid"] in model:
            return False
        model[outcome.answer["uuid"]] = Disk(model[self.disk].size_bytes, model[self.disk].content)
        model[self.disk].reset = None  # as the driver documents: xapi clones a disk when it begins to be one that forgets
        return True


class Revert(Operation):
    """`disk` is the snapshot."""

    def __init__(self, host: int, disk: str, target: str) -> None:
        super().__init__(host, disk)
        self.target = target

    def run(self, pool: Pool) -> Outcome:
        return pool.call(pool.master, "vdi_revert", self.disk, args=(pool.toolstack.ref(self.target),))

    def explains(self, model: Model, outcome: Outcome) -> bool:
        target = model[self.target]
        if outcome.fault:
            return outcome.fault == IN_USE and not target.is_free
        target.content, target.size_bytes = model[self.disk].content, model[self.disk].size_bytes
        target.reset = None
        return target.is_free


class Start(Operation):
    """What xapi says of a disk before its VM starts: one that forgets goes back, or notes what to go back to."""

    on_boot = "persist"

    def run(self, pool: Pool) -> Outcome:
        return pool.call(self.host, "vdi_epoch_begin", self.disk, vdi_on_boot=self.on_boot)

    def explains(self, model: Model, outcome: Outcome) -> bool:
        model[self.disk].reset = None
        return not outcome.fault


class ForgetfulStart(Start):
    on_boot = "reset"

    def explains(self, model: Model, outcome: Outcome) -> bool:
        disk = model[self.disk]
        if outcome.fault:
            return outcome.fault == IN_USE and not disk.is_free
        disk.reset = disk.reset or (disk.content, disk.size_bytes)
        disk.content, disk.size_bytes = disk.reset
        return disk.is_free


def run_at_once(pool: Pool, operations: list[Operation], dying: Service | None = None) -> list[Outcome]:
    """`dying`: a volume service that is killed meanwhile, and is back afterwards."""
    with ThreadPoolExecutor(len(operations)) as threads:
        jobs = [threads.submit(operation.run, pool) for operation in operations]
        if dying is not None:
            time.sleep(KILL_AFTER_S)
            dying.kill()
        outcomes = [job.result() for job in jobs]
    if dying is not None:
        dying.start()
    return outcomes


def explain(model: Model, operations: list[Operation], outcomes: list[Outcome]) -> Model | None:
    """The model after some order of the operations that explains all their outcomes."""
    for order in itertools.permutations(range(len(operations))):
        tried = copy.deepcopy(model)
        if all(operations[number].explains(tried, outcomes[number]) for number in order):
            return tried
    return None


def differences(pool: Pool, model: Model) -> Iterable[str]:
    """Where records and maps are not as the model has them."""
    records = {str(record["uuid"]): record for record in pool.toolstack.vdis.values()}
    if set(records) != set(model):
        yield f"records {sorted(records)}, wanted {sorted(model)}"
        return
    for name, disk in model.items():
        if int(records[name]["virtual_size"]) != disk.size_bytes:
            yield f"{name} has a record of {records[name]['virtual_size']} bytes, wanted {disk.size_bytes}"
        if bool(records[name]["is_a_snapshot"]) != (disk.of is not None):
            yield f"{name}: is_a_snapshot {records[name]['is_a_snapshot']}"
    for host in range(HOSTS):
        there = pool.kernel(host).mapped()
        wanted = [
            (disk.writer == host, name) for name, disk in model.items() if disk.writer == host or host in disk.readers
        ]
        if len(there) != len(wanted) or sum(map_[2] for map_ in there) != sum(write for write, _ in wanted):
            yield f"host {host} maps {there}, wanted {wanted}"


def map_name(name: str, disk: Disk) -> str:
    return ("vdi-" if disk.of is None else "snap-") + name


def fresh_text() -> str:
    return str(uuid.uuid4())
