"""The witness as a VM of the pool: made, started, moved and watched through XenAPI and its console, as a person would.

The guest itself is in lab/witness/: it numbers its records, acknowledges each one on its console only after it is on
disk, and on start says the highest valid record that it finds.
"""

from __future__ import annotations

import re
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as RpcError
from xmlrpc.client import SafeTransport, ServerProxy

from lab.command import CommandError, run
from lab.namespace import enter
from lab.topology import Lab

NAME = "witness"
KERNEL_ARGUMENTS = "console=hvc0 quiet"
MIB = 1024**2
DISK_BYTES = 512 * MIB
CALL_TIMEOUT_S = 180  # a guest's start under emulation takes its time
Answer = TypeVar("Answer")


class XenApiFailure(Exception):
    """XenAPI's error code and its parameters."""

    def __init__(self, description: list[str]) -> None:
        super().__init__(": ".join(part for part in description if part))
        self.code = description[0]


IDLE_MAX_S = 60.0  # the toolstack closes a connection that says nothing for five minutes
UNCHECKED = ssl._create_unverified_context()


class NamespaceTransport(SafeTransport):
    """Connects from inside the lab's namespace, while the rest of this process stays outside."""

    def __init__(self, lab: Lab, timeout_s: float) -> None:
        super().__init__(context=UNCHECKED)
        self._lab, self._timeout_s = lab, timeout_s

    def make_connection(self, host: Any) -> HTTPSConnection:
        connection = super().make_connection(host)
        if connection.sock is None:
            connection.timeout = self._timeout_s
            with ThreadPoolExecutor(1) as thread:  # it alone goes inside, and it ends here
                thread.submit(self._connect, connection).result()
        return connection

    def _connect(self, connection: HTTPSConnection) -> None:
        enter(self._lab)
        connection.connect()


class Session:
    """A session with the pool, by stdlib XML-RPC. The lab's own certificates are its own: they are not checked."""

    def __init__(
        self, lab: Lab, master: str = "xen1", *, enter_namespace: bool = False, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        """`enter_namespace`: each connection is made inside the lab's network by a thread that goes there for it.

        `timeout_s` bounds its calls then.
        """
        address, password = lab.host(master).address, lab.password_file.read_text()
        for _ in range(2):
            transport = NamespaceTransport(lab, timeout_s) if enter_namespace else SafeTransport(context=UNCHECKED)
            self._server = ServerProxy(f"https://{address}/", transport=transport)
            answer: Any = self._server.session.login_with_password("root", password)
            if answer["Status"] == "Success" or answer["ErrorDescription"][0] != "HOST_IS_SLAVE":
                break
            address = answer["ErrorDescription"][1]  # the pool has another master by now
        self._session = self._take(answer)
        self._used_s = time.monotonic()

    def call(self, method: str, *parameters: Any) -> Any:
        if time.monotonic() - self._used_s > IDLE_MAX_S:
            self._server("close")()  # the next call makes a connection of its own
        self._used_s = time.monotonic()
        return self._take(getattr(self._server, method)(self._session, *parameters))

    @staticmethod
    def _take(answer: Any) -> Any:
        if answer["Status"] != "Success":
            raise XenApiFailure(answer["ErrorDescription"])
        return answer["Value"]


# All that a call can end with while hosts die.
TROUBLE = (OSError, RuntimeError, HTTPException, RpcError, ExpatError, XenApiFailure)


def log_in(lab: Lab, *, shunned: str = "", timeout_s: float = CALL_TIMEOUT_S) -> Session:
    """With the pool, from outside the lab's network, by way of whichever host answers, but not of that one."""
    failures = []
    for host in lab.hosts:
        if host.name != shunned:
            try:
                return Session(lab, host.name, enter_namespace=True, timeout_s=timeout_s)
            except TROUBLE as error:
                failures.append(f"{host.name}: {error}")
    raise CommandError(f"no host of the pool answers: {'; '.join(failures)}")


@dataclass(frozen=True, slots=True)
class Console:
    """What the witness has said on one host since it was last started there."""

    acked: int  # the highest "ack N"; 0 for none
    highest: int | None  # what it found on its disk when it started; None: not said yet
    text: str


def read_console(lab: Lab, host: str, name: str = NAME) -> Console:
    argv = [sys.executable, "-m", "lab.cli", "--dir", str(lab.dir), "run", host, "--", "cat", console_log(name)]
    return parse_console(run(argv, timeout_s=30, check=False).stdout)


def console_log(name: str) -> str:
    return f"/var/log/xen/console/guest-{name}.log"


def parse_console(text: str) -> Console:
    last_start = text.rfind("witness start")
    said = text[max(last_start, 0) :]
    acks = [int(number) for number in re.findall(r"^ack (\d+)\s*$", said, re.MULTILINE)]
    highest = re.search(r"^highest (\d+)\s*$", said, re.MULTILINE)
    return Console(max(acks, default=0), int(highest.group(1)) if highest else None, said)


def rest(session: Session, vm: str, pause_ms: int) -> None:
    """From its next start on it rests so long between two records; 20 ms if nothing is said."""
    session.call("VM.set_PV_args", vm, f"{KERNEL_ARGUMENTS} PAUSE_MS={pause_ms}")


def create(session: Session, sr_name: str, name: str = NAME) -> str:
    """The VM's ref; its disk lies on the SR `sr_name`. One that is there already is taken as it is."""
    if found := session.call("VM.get_by_name_label", name):
        return str(found[0])
    (sr,) = session.call("SR.get_by_name_label", sr_name)
    vdi = session.call("VDI.create", vdi_record(sr, name))
    vm = session.call("VM.create", _vm_record(name))
    session.call("VBD.create", _vbd_record(vm, vdi))
    return str(vm)


def start(session: Session, vm: str, host_name: str, *, patience_s: float = 90) -> float:
    """Start on that host; seconds until it runs. While Ceph holds a dead host's lock the driver refuses: try on."""
    (host,) = session.call("host.get_by_name_label", host_name)
    began = time.monotonic()
    while True:
        try:
            session.call("VM.start_on", vm, host, False, False)
            return time.monotonic() - began
        except XenApiFailure as failure:
            if not failure.code.startswith("SR_BACKEND_FAILURE") or time.monotonic() - began > patience_s:
                raise
            time.sleep(1)


def stop(lab: Lab, session: Session, vm: str) -> None:
    """Halted, and no host's console log tells of an earlier run any more."""
    if session.call("VM.get_power_state", vm) != "Halted":
        session.call("VM.hard_shutdown", vm)
    for host in lab.hosts:
        argv = [sys.executable, "-m", "lab.cli", "--dir", str(lab.dir), "run", host.name, "--", "rm", "-f"]
        run([*argv, console_log(session.call("VM.get_name_label", vm))], timeout_s=60)


def wait_for(look: Callable[[], Answer], met: Callable[[Answer], bool], *, timeout_s: float, what: str) -> Answer:
    """Look until it is met; a time-out says what was last seen."""
    deadline = time.monotonic() + timeout_s
    while not met(seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; last seen: {str(seen)[-800:]}")
        time.sleep(0.5)
    return seen


def vdi_record(sr: str, name: str) -> dict[str, Any]:
    return {
        "name_label": f"{name} disk",
        "name_description": "numbered, checksummed records",
        "SR": sr,
        "virtual_size": str(DISK_BYTES),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
    }


def _vbd_record(vm: str, vdi: str) -> dict[str, Any]:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": "0",
        "bootable": True,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": True,
        "empty": False,
        "other_config": {"backend-kind": "vbd"},  # the kernel's blkback takes the device: no tapdisk here
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def _vm_record(name: str) -> dict[str, Any]:
    memory = str(96 * MIB)
    return {
        "name_label": name,
        "name_description": "appends numbered records to its disk and acknowledges them on its console",
        "user_version": "1",
        "is_a_template": False,
        "affinity": "OpaqueRef:NULL",
        "memory_static_max": memory,
        "memory_dynamic_max": memory,
        "memory_dynamic_min": memory,
        "memory_static_min": memory,
        "VCPUs_params": {},
        "VCPUs_max": "1",
        "VCPUs_at_startup": "1",
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "destroy",
        "PV_bootloader": "",
        "PV_kernel": "/boot/guest/vmlinuz",
        "PV_ramdisk": "/boot/guest/witness.img",
        "PV_args": KERNEL_ARGUMENTS,
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
        "HVM_boot_policy": "",
        "HVM_boot_params": {},
        "platform": {},
        "PCI_bus": "",
        "other_config": {},
        "recommendations": "",
    }
