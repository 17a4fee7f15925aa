"""The driver in this very process, with nothing outside in its reach: what it would meet there is given as bytes.

No socket, no kernel, no program, no file beyond a scratch folder. What must hold of every answer is in `check`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from dom0 import shoal_dom0

PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile")
NETWORK = ("socket.connect", "socket.bind", "socket.sendto")
OURS = (1, 16, 20, 24, 37, 38, 39, 40, 42, 43, 44, 46, 47, 66, 79, 82, 115, 143, 144, 202, 460)
MODULES = [
    importlib.import_module(f"{shoal_dom0.__name__}.{found.name}") for found in pkgutil.iter_modules(shoal_dom0.__path__)
]
closed = False  # whether a call is being made: what it may not do, the tests around it may


class Escaped(BaseException):
    """The driver reached for a program or the network. No handler of the driver's may swallow it."""


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if closed and event in (*PROGRAMS, *NETWORK):
        raise Escaped(f"{event} {arguments!r}")


sys.addaudithook(refuse)


class Wire:
    """A connection, or the TLS around it, that answers with given bytes whatever it is told."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers
        self._rest = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self, _: object) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def setsockopt(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def sendall(self, _: bytes) -> None:
        try:
            self._rest = next(self._answers)
        except StopIteration:
            raise ConnectionResetError(104, "Connection reset by peer") from None

    def recv(self, count: int, *_: object) -> bytes:
        part, self._rest = self._rest[:count], self._rest[count:]
        return part

    def recv_into(self, buffer: Any, *_: object) -> int:
        part = self.recv(len(buffer))
        buffer[: len(part)] = part
        return len(part)


class Tls:
    options = 0

    def __init__(self, _: object = None) -> None:
        pass

    def load_verify_locations(self, *_: object) -> None:
        pass

    def load_cert_chain(self, *_: object) -> None:
        pass

    def wrap_socket(self, plain: Wire, **_: object) -> Wire:
        return plain


def outside(answers: Iterator[bytes]) -> dict[str, Any]:
    """What stands in for the modules `socket` and `ssl`, and for what lies under the first."""
    import _socket
    import socket
    import ssl

    def make(*_: object, **__: object) -> Wire:
        return Wire(answers)

    fake_socket = SimpleNamespace(**{**vars(socket), "socket": make, "create_connection": make})
    beneath = SimpleNamespace(**{**vars(_socket), "socket": make})
    return {"socket": fake_socket, "_socket": beneath, "ssl": SimpleNamespace(**{**vars(ssl), "SSLContext": Tls})}


PATHS = {
    "SOCKET": "xapi",
    "HOST_FILE": "host.json",
    "BUS": "bus",
    "BLOCK": "block",
    "DEVICES": "dev",
    "LINKS": "links",
    "FOLDER": "",
    "TAP_CTL": "tap-ctl",
    "BUSY_TIMEOUT_S": 0.0,
    "NODE_TIMEOUT_S": 0.0,
}


@contextlib.contextmanager
def enclosed(folder: Path, answers: Iterator[bytes], codes: Iterator[int]) -> Iterator[None]:
    """`answers` to each request in turn, then silence; `codes` of each write to the kernel, then 0."""
    kept: list[tuple[ModuleType, str, Any]] = []

    def put(module: ModuleType, name: str, value: Any) -> None:
        kept.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    stand_ins = outside(answers)
    for module in MODULES:
        for name, value in stand_ins.items():
            if hasattr(module, name):
                put(module, name, value)
        for name, tail in PATHS.items():
            if hasattr(module, name):
                put(module, name, str(folder / tail) + ("/" if not tail else "") if isinstance(tail, str) else tail)
        if hasattr(module, "_write_bounded"):
            put(module, "_write_bounded", lambda *_: next(codes, 0))
        if hasattr(module, "_bound_memory"):
            put(module, "_bound_memory", lambda: None)  # it would bound this process, for good
    try:
        yield
    finally:
        for module, name, value in reversed(kept):
            setattr(module, name, value)


class Enclosure:
    """A scratch folder with a kernel's files in it, made once: a call leaves little there."""

    def __init__(self) -> None:
        self._made = tempfile.TemporaryDirectory(prefix="shoal-fuzz-")
        self.folder = Path(self._made.name)
        for name in ("bus/devices", "block", "dev"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "bus/add").touch()

    def answer(self, text: str, answers: Iterator[bytes] = iter(()), codes: Iterator[int] = iter(())) -> str:
        """What the driver says to a request."""
        global closed
        from dom0.shoal_dom0 import protocol

        with enclosed(self.folder, answers, codes):
            closed = True
            try:
                return str(protocol._answer(["RBDSR", text]))
            finally:
                closed = False

    def check(self, text: str, answers: Iterator[bytes] = iter(()), codes: Iterator[int] = iter(())) -> Any:
        """The answer's value or Fault. It must be well-formed, under a known number, and in time."""
        began = time.monotonic()
        said = self.answer(text, answers, codes)
        assert time.monotonic() - began < 20, "it took too long"
        return check_answer(said)


def check_answer(said: str) -> Any:
    try:
        return xmlrpc.client.loads(said.encode("utf-8", "replace").decode())[0][0]
    except xmlrpc.client.Fault as fault:
        assert fault.faultCode in OURS, fault
        assert "Traceback" not in said
        return fault


def is_bug(answer: Any) -> bool:
    """Whether it is the fault for what the driver did not foresee. A bad request is foreseen, always."""
    return isinstance(answer, xmlrpc.client.Fault) and "in the rbd driver; see" in answer.faultString


def http(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def http_json(value: Any, status: int = 200) -> bytes:
    return http(json.dumps(value).encode(), status)
