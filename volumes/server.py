"""HTTPS: one thread per connection, so many at most, a certificate from every client. It must not know of Ceph."""

from __future__ import annotations

import contextlib
import json
import logging
import select
import socket
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable

from volumes import clients
from volumes.config import Config
from volumes.errors import ServiceError, bad_request
from volumes.strangers import Strangers

log = logging.getLogger("volumes")
CONNECTIONS_MAX = 64
HANDSHAKE_TIMEOUT_S = 10.0  # an emulated or overloaded dom0 needs seconds
IDLE_TIMEOUT_S = 60.0
BODY_MAX_BYTES = 1 << 20

Answer = Callable[[str, str, bytes], "dict[str, Any]"]


def tls_context(config: Config) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.certificate, config.key)
    context.load_verify_locations(config.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, config: Config, answer: Answer) -> None:
        self._tls = tls_context(config)
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._strangers = Strangers()
        self._clients = config.clients
        self.answer = answer
        super().__init__((config.address, config.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._strangers.enter(client_address[0]):
            log.warning("%s refused: too many connections of nobody that is known", client_address[0])
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._strangers.leave(client_address[0])
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Here rather than at accept, so that a client that never ends its handshake blocks nobody."""
        with contextlib.ExitStack() as stranger:
            stranger.callback(self._strangers.leave, client_address[0])
            request.settimeout(HANDSHAKE_TIMEOUT_S)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._tls.wrap_socket(request, server_side=True) as connection:
                if not self._is_admitted(connection):  # it stays one, and is told so when it asks
                    self.RequestHandlerClass(connection, client_address, self)  # type: ignore[arg-type]  # Self
                    return
                stranger.close()
                self._serve(connection, client_address)

    def _serve(self, connection: ssl.SSLSocket, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            log.warning("%s refused: %d connections are open", client_address[0], CONNECTIONS_MAX)
            return
        try:
            self.RequestHandlerClass(connection, client_address, self)  # type: ignore[arg-type]  # Self
        finally:
            self._slots.release()

    def _is_admitted(self, connection: ssl.SSLSocket) -> bool:
        try:
            self.admit(connection)
        except ServiceError:
            return False
        return True

    def admit(self, connection: Any) -> None:
        """Raises a ServiceError for a client whose certificate is good, and who may not ask here all the same."""
        clients.check(connection.getpeercert(), self._clients)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        log.info("connection from %s ended", client_address[0], exc_info=log.isEnabledFor(logging.DEBUG))


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "shoal-volumes"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    wbufsize = -1  # head and body in one packet

    def handle_any(self) -> None:
        started = time.monotonic()
        status, value = self._answer()
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        log.info(
            "%s %s %s %d %.0f ms", self.client_address[0], self.command, self.path, status,
            (time.monotonic() - started) * 1000,
        )  # fmt: skip

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def _answer(self) -> tuple[int, dict[str, Any]]:
        try:
            body = self._body()
            self.server.admit(self.connection)
            if self._has_gone():
                self.close_connection = True
                raise ServiceError(408, "gone", "whoever asked waits no more")
            return 200, self.server.answer(self.command, self.path, body)
        except ServiceError as error:
            return error.status, error.as_json()
        except Exception as error:  # noqa: BLE001 - a bug must not hang the caller; it is logged with its trace
            log.exception("%s %s", self.command, self.path)
            return 500, ServiceError(500, "bug", f"{type(error).__name__} in the volume service").as_json()

    def _has_gone(self) -> bool:
        """Whether the client has hung up: it has nothing more to say before it has its answer.

        If this service stood still meanwhile, others have done since what it is asked for, and more.
        """
        look = select.poll()  # select() knows no descriptor above 1023, and a client of many OSDs has hundreds open
        look.register(self.connection, select.POLLIN)
        return bool(look.poll(0))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise bad_request("Content-Length is needed")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > BODY_MAX_BYTES:
            self.close_connection = True
            raise bad_request(f"Content-Length: 0 to {BODY_MAX_BYTES}")
        return self.rfile.read(int(length))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug(format, *args)
