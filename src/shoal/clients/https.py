"""HTTPS to one address whose certificate is pinned: connections kept open, every wait bounded, run in threads.

Standard library only. The certificate is looked at before the first byte of a request is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import http.client
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from shoal.clients.pins import IN_SPEC, PinChanged, Pins
from shoal.kit.errors import ShoalError

CONNECT_TIMEOUT_S = 10.0
ANSWER_LIMIT_BYTES = 256 << 20
THREADS = 16

T = TypeVar("T")


class ConnectionBroken(Exception):
    """No connection, no answer in time, or an answer that is no HTTP or JSON."""


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    body: bytes
    timeout_s: float
    is_repeatable: bool


class HttpsPool:
    """Any number of requests at once to one server, each on a connection of its own."""

    def __init__(self, address: str, port: int, *, pins: Pins, fingerprint: str | None = None) -> None:
        self.address, self.port = address, port
        self._pins, self._fingerprint = pins, fingerprint
        self._idle: list[http.client.HTTPSConnection] = []
        # The socket too: http.client lets go of it while an answer is still being read.
        self._busy: dict[http.client.HTTPSConnection, socket.socket] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"https-{address}")
        # Hosts have certificates of their own making: what counts is that it is the same one as last time.
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def post_json(self, path: str, body: object, *, timeout_s: float, repeatable: bool) -> object:
        """POST and return the JSON answered. With `repeatable`, tried once more if a kept connection was dead."""
        request = _Request(path, json.dumps(body).encode(), timeout_s, repeatable)
        used: list[socket.socket] = []
        try:
            async with asyncio.timeout(timeout_s):
                return await self.in_thread(lambda: self._post(request, used))
        except TimeoutError:
            for sock in used:
                _abort(sock)  # a server that dribbles would keep the thread for ever
            raise ConnectionBroken(f"no answer within {timeout_s:g} s") from None

    def connect(self, timeout_s: float) -> http.client.HTTPSConnection:
        """A new connection, its certificate checked. Blocking. `close` breaks it off, whoever uses it."""
        connection = http.client.HTTPSConnection(
            self.address, self.port, timeout=min(CONNECT_TIMEOUT_S, timeout_s), context=self._context
        )
        try:
            connection.connect()
            self._check(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ConnectionBroken(_said(error)) from error
        except ShoalError:
            connection.close()
            raise
        connection.sock.settimeout(timeout_s)
        with self._lock:
            self._busy[connection] = connection.sock
        return connection

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            busy = tuple(self._busy.values())
        for connection in idle:
            connection.close()
        for sock in busy:
            _abort(sock)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _post(self, request: _Request, used: list[socket.socket]) -> object:
        kept = self._kept()
        if kept is not None:
            used.append(kept.sock)
            try:
                return self._exchange(kept, request)
            except ConnectionBroken:
                if not request.is_repeatable:
                    raise
        fresh = self.connect(request.timeout_s)
        used.append(fresh.sock)
        return self._exchange(fresh, request)

    def _exchange(self, connection: http.client.HTTPSConnection, request: _Request) -> object:
        keep = False
        try:
            connection.sock.settimeout(request.timeout_s)
            connection.request("POST", request.path, request.body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read(ANSWER_LIMIT_BYTES)
            if response.status != http.HTTPStatus.OK:
                raise ConnectionBroken(f"HTTP {response.status} {response.reason}")
            answer: object = json.loads(text)
            keep = response.isclosed() and not response.will_close
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise ConnectionBroken(_said(error)) from error
        finally:
            with self._lock:
                self._busy.pop(connection, None)
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()
        return answer

    def _kept(self) -> http.client.HTTPSConnection | None:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                # Something to read while nothing was asked: the server has closed it.
                if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                    self._busy[connection] = connection.sock
                    return connection
                connection.close()
        return None

    def _check(self, connection: http.client.HTTPSConnection) -> None:
        certificate = connection.sock.getpeercert(binary_form=True)
        seen = f"sha256:{hashlib.sha256(certificate or b'').hexdigest()}"
        name = self.address if self.port == 443 else f"{self.address}:{self.port}"
        wanted = (
            f"sha256:{self._fingerprint.lower().removeprefix('sha256:').replace(':', '')}" if self._fingerprint else ""
        )
        if wanted and seen != wanted:
            raise PinChanged("TLS certificate", name, expected=wanted, seen=seen, stored_in=IN_SPEC)
        self._pins.check("TLS certificate", name, seen)


def _abort(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket's own: that one forgets the encryption, and another thread may be about to send.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
