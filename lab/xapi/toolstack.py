"""One host's xapi: finds the call, checks the session, runs it, keeps tasks for `Async.` calls.

Must not know how bytes arrive (`web`) nor what any one call does (`classes/`).
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import dumps

from lab.xapi import role
from lab.xapi.classes import CALLS
from lab.xapi.clock import now
from lab.xapi.codec import decode, encode
from lab.xapi.database import Database
from lab.xapi.failure import Failure, internal_error
from lab.xapi.model import Call
from lab.xapi.protocols import Request

if TYPE_CHECKING:
    from lab.xapi.agent import Agent, RemoteAgent

EMERGENCY_CALLS = frozenset({"pool.emergency_transition_to_master", "pool.emergency_reset_master"})
LOCAL_CALLS = EMERGENCY_CALLS | {"session.local_logout"}  # what a session of one host alone is good for

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a host's toolstack answers: its own address on the LAN."""

    name: str
    address: str
    port: int = 443
    mac: str = ""
    uuid: str = ""  # as the host's inventory has it; "" for any
    control_domain_uuid: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a toolstack is told when it starts."""

    host: str
    master: str
    peers: Mapping[str, Peer]
    password: Callable[[], str]  # read each time: the pool's password may be changed
    pool_secret: str  # how hosts of the pool know each other
    database: Path | None  # the master's; None keeps the pool in memory only
    storage_dir: Path  # the files behind this host's Local storage
    source_address: str = ""  # where this process's own connections come from; "" for any
    dead_after_s: float = 30.0  # xapi waits 600 s before it takes a silent host for dead; tests cannot
    role_file: Path | None = None  # where this host keeps who the master is

    @property
    def is_master(self) -> bool:
        return self.host == self.master

    @property
    def master_address(self) -> str:
        return self.peers[self.master].address


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: over TLS, or a host's local socket (root of its dom0, no password)."""

    host: str
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a call knows of who makes it."""

    toolstack: Toolstack
    caller: Caller
    session: str = ""
    task: str = ""

    @property
    def db(self) -> Database:
        return self.toolstack.db

    def agent(self, host: str) -> Agent:
        """The one who does things on that host; HOST_OFFLINE if the host is known to be dead."""
        return self.toolstack.agent_of(host)

    @contextmanager
    def operation(self, kind: str, ref: str, what: str) -> Iterator[None]:
        """Mark an object busy; OTHER_OPERATION_IN_PROGRESS if it is. Copies of a VDI may go on beside others."""
        own = self.task or f"OpaqueRef:{uuid.uuid4()}"
        with self.db.lock:
            others = self.db.get(kind, ref, "current_operations")
            if busy := [other for other in others.values() if (kind, other) != ("VDI", "copy")]:
                raise Failure("OTHER_OPERATION_IN_PROGRESS", kind, ref, busy[0])
            self.db.set(kind, ref, current_operations={**others, own: what})
        try:
            yield
        finally:
            with self.db.lock:
                if self.db.exists(kind, ref):
                    others = self.db.get(kind, ref, "current_operations")
                    others.pop(own, None)
                    self.db.set(kind, ref, current_operations=others)


class Toolstack:
    """Serves calls from the database that it is given; `agents` do what must be done on each host."""

    def __init__(self, settings: Settings, local: Agent, remotes: Mapping[str, RemoteAgent]) -> None:
        self.settings = settings
        self.local = local
        self.remotes = remotes
        self.db = Database(role.database_of(settings, settings.host) if settings.is_master else None)
        self.local_sessions: set[str] = set()
        self._storage_locks: dict[str, threading.Lock] = {}
        self._starts: dict[str, object] = {}

    # Hosts

    def begin_start(self, name: str) -> Callable[[], bool]:
        """A host's toolstack starts; says whether that is still its newest start."""
        start = self._starts[name] = object()
        return lambda: self._starts[name] is start

    def host_ref(self, name: str) -> str:
        for ref in self.db.where("host", name_label=name) or self.db.where("host", hostname=name):
            return ref
        raise internal_error(f"host {name} has not joined the pool")

    def agent_of(self, host: str) -> Agent:
        name = self.db.get("host", host, "hostname")
        if name == self.settings.host:
            return self.local
        if not self.db.get("host_metrics", self.db.get("host", host, "metrics"), "live"):
            raise Failure("HOST_OFFLINE", host)
        return self.remotes[name].reporting(host)

    def storage_lock(self, sr: str) -> threading.Lock:
        """xapi does one vdi_create, vdi_destroy, vdi_resize, … at a time on one SR; the others wait."""
        with self.db.lock:
            return self._storage_locks.setdefault(sr, threading.Lock())

    # Calls

    def serve(self, request: Request, caller: Caller) -> bytes:
        """A request's answer. Nothing a call does ends the server."""
        try:
            call, value = self._dispatch(request, caller)
            return request.succeed(encode(call.result, value, xml=request.xml))
        except Failure as failure:
            log.info("%s: %s", request.method, failure)
            return request.fail(failure)
        except Exception as error:
            log.exception("%s", request.method)
            return request.fail(internal_error(f"{type(error).__name__}: {error}"))

    def _dispatch(self, request: Request, caller: Caller) -> tuple[Call, Any]:
        name = request.method.removeprefix("Async.")
        is_async = name != request.method
        call = CALLS.get(name)
        if call is None:
            raise Failure("MESSAGE_METHOD_UNKNOWN", request.method)
        parameters = list(request.parameters)
        self._check_count(call, parameters)
        context = Context(self, caller)
        if call.session:
            context = replace(context, session=self._check_session(call, str(parameters.pop(0))))
        if not self.settings.is_master and not name.startswith("session.") and name not in EMERGENCY_CALLS:
            raise Failure("HOST_IS_SLAVE", self.settings.master_address)
        arguments = [
            decode(type_, value, parameter)
            for (parameter, type_), value in zip(call.parameters, parameters, strict=False)
        ]
        if is_async:
            return TASK_REF, self.start_task(context, call, arguments)
        return call, call.function(context, *arguments)

    @staticmethod
    def _check_count(call: Call, parameters: list[Any]) -> None:
        extra = int(call.session)
        if not call.required + extra <= len(parameters) <= len(call.parameters) + extra:
            expected = len(call.parameters) + extra
            raise Failure("MESSAGE_PARAMETER_COUNT_MISMATCH", call.name, str(expected), str(len(parameters)))

    def _check_session(self, call: Call, session: str) -> str:
        if session in self.local_sessions and call.name in LOCAL_CALLS:
            return session
        if not self.settings.is_master:
            raise Failure("HOST_IS_SLAVE", self.settings.master_address)
        if not self.db.exists("session", session):
            raise Failure("SESSION_INVALID", session)
        return session

    # Tasks

    def new_task(self, label: str, description: str = "") -> str:
        host = self.host_ref(self.settings.host)
        created = {"name_label": label, "name_description": description, "created": now(), "resident_on": host}
        return self.db.create("task", {**created, "status": "pending"})

    def start_task(self, context: Context, call: Call, arguments: list[Any]) -> str:
        task = self.new_task(f"Async.{call.name}")
        own = replace(context, task=task)
        threading.Thread(target=self._run_task, args=(own, call, arguments), name=call.name, daemon=True).start()
        return task

    def _run_task(self, context: Context, call: Call, arguments: list[Any]) -> None:
        try:
            value = call.function(context, *arguments)
            self.end_task(context.task, result_text(call.result, value))
        except Failure as failure:
            self.end_task(context.task, failure=failure)
        except Exception as error:
            log.exception("%s", call.name)
            self.end_task(context.task, failure=internal_error(f"{type(error).__name__}: {error}"))

    def end_task(self, task: str, result: str = "", *, failure: Failure | None = None) -> None:
        if not self.db.exists("task", task):
            return
        if failure:
            log.info("%s: %s", self.db.get("task", task, "name_label"), failure)
            self.db.set("task", task, status="failure", error_info=failure.description, finished=now())
        else:
            self.db.set("task", task, status="success", result=result, progress=1.0, finished=now())


TASK_REF = Call("", (), "task ref", lambda: None, 0)


def result_text(type_: str, value: Any) -> str:
    """A call's value as xapi leaves it in task.result: a piece of XML-RPC, strings without their tag."""
    encoded = encode(type_, value, xml=True)
    if type_ == "void":
        return ""
    if isinstance(encoded, str):
        return f"<value>{encoded}</value>"
    text = dumps((encoded,), methodresponse=True)
    return text[text.index("<value>") : text.rindex("</value>") + len("</value>")]
