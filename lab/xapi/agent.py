"""What only a host itself can do, for the pool's master: in its own process directly, on another host over the LAN.

`call` takes and gives plain values, so that an operation is the same near and far.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from xmlrpc.client import Fault, dumps, loads

from lab.xapi import role
from lab.xapi.clock import now
from lab.xapi.dom0 import Dom0
from lab.xapi.drivers import Drivers
from lab.xapi.failure import Failure, internal_error
from lab.xapi.hypervisor import Disk, Guests, Plan
from lab.xapi.toolstack import Peer, Settings
from lab.xapi.transfer import Transfers

CONNECT_TIMEOUT_S = 5.0
STATE_TIMEOUT_S = 600.0
PIECE_BYTES = 1024**2
PLUGINS = "/etc/xapi.d/plugins"
INVENTORY = "/etc/xensource-inventory"
PLUGIN_TIMEOUT_S = 600.0
LOOK_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)


class Agent(Protocol):
    def call(self, operation: str, timeout_s: float, **arguments: Any) -> Any:
        """Do one thing on the host. Raises Failure, CANNOT_CONTACT_HOST if the host cannot be reached."""


@dataclass(slots=True)
class LocalAgent:
    """This host. `storage_vms` are its HVM guests, `guests` its PV guests."""

    settings: Settings
    dom0: Dom0
    drivers: Drivers
    storage_vms: Guests
    guests: Guests
    transfers: Transfers
    restart: Callable[[], None]  # of this toolstack
    switch: Callable[[str], None]  # of dom0's machine: "reboot" or "poweroff"

    def call(self, operation: str, timeout_s: float, **arguments: Any) -> Any:  # noqa: ARG002  dom0's own bounds hold
        operations: dict[str, Callable[..., Any]] = {
            "hello": self.hello,
            "pulse": self.pulse,
            "run_driver": self.drivers.run,
            "start_vm": self.start_vm,
            "shutdown_vm": self.shutdown_vm,
            "destroy_vm": self.destroy_vm,
            "plug": self.plug,
            "unplug": self.unplug,
            "save_vm": self.save_vm,
            "send_state": self.send_state,
            "restore_vm": self.restore_vm,
            "forget_state": self.forget_state,
            "start_copy": self.transfers.start_copy,
            "copy_state": self.transfers.copy_state,
            "call_plugin": self.call_plugin,
            "time": self.time,
            "power": self.power,
            "restart": self.restart,
            "mark_started": self.mark_started,
            "role": self.role,
            "follow": self.follow,
            "leave": self.leave,
        }
        try:
            return operations[operation](**arguments)
        except OSError as error:
            raise internal_error(f"{self.dom0.name}: {error}") from error

    def hello(self) -> dict[str, Any]:
        """What the pool must know of a host that joins or starts, which is told whom it follows."""
        role.tell(self.settings, self.dom0)
        text = self.dom0.run(["cat", INVENTORY], timeout_s=LOOK_TIMEOUT_S).stdout
        pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
        inventory = {key: value.strip("'\"") for key, _, value in pairs}
        boot = self.dom0.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=LOOK_TIMEOUT_S).stdout.strip()
        running = self._running(thorough=True)
        return {"inventory": inventory, "boot": boot, "drivers": self.drivers.discover(), "running": running}

    def pulse(self, *, thorough: bool) -> dict[str, Any]:
        """That the host lives, and which VMs run. Looking into Xen costs an emulated dom0 much: only if thorough."""
        running = self._running(thorough=thorough)
        return {"time": now(), "running": running, "networks": self.storage_vms.networks()}

    def _running(self, *, thorough: bool) -> dict[str, int]:
        own = self.storage_vms.running()
        return {**own, **self.guests.running()} if thorough else own

    def start_vm(self, plan: dict[str, Any]) -> int:
        parsed = Plan.parse(plan)
        return self._of(hvm=parsed.hvm).start(parsed)

    def shutdown_vm(self, uuid: str, *, hvm: bool, grace_s: float) -> bool:
        return self._of(hvm=hvm).shutdown(uuid, timeout_s=grace_s)

    def destroy_vm(self, uuid: str, *, hvm: bool) -> None:
        self._of(hvm=hvm).destroy(uuid)

    def plug(self, uuid: str, *, hvm: bool, disk: dict[str, Any]) -> None:
        self._of(hvm=hvm).plug(uuid, Disk(**disk))

    def unplug(self, uuid: str, *, hvm: bool, userdevice: str) -> None:
        self._of(hvm=hvm).unplug(uuid, userdevice)

    # A VM that moves: its memory goes into a file here, that to a file in the other dom0

    def save_vm(self, uuid: str, *, hvm: bool) -> None:
        self._of(hvm=hvm).save(uuid, state_file(uuid))

    def send_state(self, uuid: str, peer: str) -> None:
        """Bring a saved VM's memory to another host's dom0; it stays here, too."""
        file = state_file(uuid)
        size = self.dom0.run(["stat", "-c", "%s", file], timeout_s=LOOK_TIMEOUT_S)
        if size.code != 0:
            raise internal_error(f"no saved memory of {uuid}: {size.stderr.strip()}")
        stream = self.dom0.open(["cat", file])
        try:
            pieces = iter(lambda: stream.read(PIECE_BYTES), b"")
            to = self.settings.peers[peer]
            status, _ = post(
                to, f"/lab/state?vm={uuid}", pieces, self.settings, timeout_s=STATE_TIMEOUT_S, length=int(size.stdout)
            )
        finally:
            stream.kill()
        if status != 200:
            raise internal_error(f"{peer} did not take the memory of {uuid}: it answered {status}")

    def take_state(self, uuid: str, source: BinaryIO, length_bytes: int) -> None:
        """What `send_state` of another host brings."""
        stream = self.dom0.open(["sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "sh", state_file(uuid)])
        try:
            while length_bytes:
                piece = source.read(min(PIECE_BYTES, length_bytes))
                if not piece:
                    raise internal_error("the saved memory broke off")
                stream.write(piece)
                length_bytes -= len(piece)
            if (done := stream.finish()).code != 0:
                raise internal_error(f"cannot write the saved memory: {done.stderr.strip()}")
        finally:
            stream.kill()

    def restore_vm(self, plan: dict[str, Any]) -> int:
        """Go on where it was saved; its domain id."""
        parsed = Plan.parse(plan)
        return self._of(hvm=parsed.hvm).restore(parsed, state_file(parsed.uuid))

    def forget_state(self, uuid: str) -> None:
        self.dom0.run(["rm", "-f", state_file(uuid)], timeout_s=LOOK_TIMEOUT_S)

    def _of(self, *, hvm: bool) -> Guests:
        return self.storage_vms if hvm else self.guests

    def call_plugin(self, plugin: str, function: str, pairs: dict[str, str], session: str) -> str:
        """A plugin of dom0: one XML-RPC call as its argument; its answer says what became of it, as XenAPI's own do."""
        path = f"{PLUGINS}/{plugin}"
        if "/" in plugin or self.dom0.run(["test", "-x", path], timeout_s=LOOK_TIMEOUT_S).code != 0:
            raise Failure("XENAPI_MISSING_PLUGIN", plugin)
        done = self.dom0.run([path, dumps((session, pairs), function)], timeout_s=PLUGIN_TIMEOUT_S)
        if done.code != 0:
            raise Failure("XENAPI_PLUGIN_FAILURE", "non-zero exit", done.stdout, done.stderr)
        try:
            (answer,), _ = loads(done.stdout)
        except Fault as fault:
            raise Failure("XENAPI_PLUGIN_FAILURE", "fault", str(fault.faultCode), fault.faultString) from fault
        except Exception as error:
            raise Failure("XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", done.stdout, str(error)) from error
        match answer:
            case {"Status": "Success", "Value": str(value)}:
                return value
            case {"Status": "Failure", "ErrorDescription": [*parts]}:
                raise Failure(*map(str, parts))
        raise Failure("XENAPI_PLUGIN_FAILURE", "unexpected XMLRPC result", done.stdout)

    def time(self) -> str:
        """dom0's own clock, in UTC, as XenAPI writes it."""
        return self.dom0.run(["date", "--utc", "+%Y%m%dT%H:%M:%SZ"], timeout_s=LOOK_TIMEOUT_S).stdout.strip()

    def power(self, verb: str) -> None:
        """Reboot or switch off dom0's machine; the answer comes before it goes."""
        self.switch(verb)

    def role(self) -> str:
        """Who this host takes for the master."""
        return self.settings.master

    def follow(self, master: str) -> None:
        """Be a member of that master's."""
        if self.settings.master != master:
            role.follow(self.settings, self.dom0, master)
            self.restart()

    def leave(self) -> None:
        """The pool has ejected this host."""
        role.leave(self.dom0)

    def mark_started(self) -> None:
        """What units in dom0 wait for after a start of the toolstack."""
        self.dom0.run(["touch", "/var/run/xapi_init_complete.cookie"], timeout_s=LOOK_TIMEOUT_S)


def state_file(vm: str) -> str:
    return f"/var/tmp/lab-state/{vm}"


class RemoteAgent:
    """Another host's agent, reached on the host's own address: what cuts that host off, cuts this."""

    def __init__(self, peer: Peer, settings: Settings) -> None:
        self._peer = peer
        self._settings = settings

    def reporting(self, host: str) -> _Reporting:
        return _Reporting(self, host)

    def call(self, operation: str, timeout_s: float, **arguments: Any) -> Any:
        """Raises OSError if the host cannot be reached."""
        body = json.dumps({"operation": operation, "timeout_s": timeout_s, "arguments": arguments})
        status, answer = post(self._peer, "/lab/agent", body.encode(), self._settings, timeout_s=timeout_s)
        if status != 200:
            raise OSError(f"{self._peer.name} answered {status}")
        said = json.loads(answer)
        if "failure" in said:
            raise Failure(*said["failure"])
        return said["value"]


@dataclass(frozen=True, slots=True)
class _Reporting:
    """A remote agent whose failures name the host as XenAPI does."""

    remote: RemoteAgent
    host: str

    def call(self, operation: str, timeout_s: float, **arguments: Any) -> Any:
        try:
            return self.remote.call(operation, timeout_s, **arguments)
        except (OSError, http.client.HTTPException) as error:
            log.warning("%s: %s", operation, error)
            raise Failure("CANNOT_CONTACT_HOST", self.host) from error


UNCHECKED = ssl.create_default_context()
UNCHECKED.check_hostname = False  # between hosts the pool's secret says who is who
UNCHECKED.verify_mode = ssl.CERT_NONE


def post(
    peer: Peer, path: str, body: bytes | Iterator[bytes], settings: Settings, *, timeout_s: float,
    length: int | None = None,
) -> tuple[int, bytes]:  # fmt: skip
    """One request to another host's toolstack; pieces need their length. Raises OSError or HTTPException."""
    # From this host's own address: what cuts this host off stops its packets.
    source = (settings.source_address, 0) if settings.source_address else None
    connection = http.client.HTTPSConnection(
        peer.address, peer.port, timeout=CONNECT_TIMEOUT_S, context=UNCHECKED, source_address=source
    )
    try:
        connection.connect()
        connection.sock.settimeout(timeout_s)
        headers = {"X-Pool-Secret": settings.pool_secret}
        if length is not None:
            headers["Content-Length"] = str(length)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
