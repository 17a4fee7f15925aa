"""HTTP of one host's toolstack: XenAPI over XML-RPC and JSON-RPC, disk images, and the wire between the hosts.

Threads and blocking sockets: an image must be read straight off the socket after the answer has been sent, which is
how xapi does it and what no ASGI server allows. On a member the local socket's calls are passed on to the master.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import json
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from lab.xapi import imports, startup
from lab.xapi.agent import LocalAgent, post
from lab.xapi.failure import Failure, internal_error
from lab.xapi.protocols import Malformed, Request, parse_json, parse_xml
from lab.xapi.toolstack import LOCAL_CALLS, Caller, Toolstack
from lab.xapi.transfer import Place

FORWARD_TIMEOUT_S = 3600.0
HANDSHAKE_TIMEOUT_S = 15.0
IDLE_TIMEOUT_S = 300.0
CLOSE_TIMEOUT_S = 5.0
SERVED_BY_MEMBERS = LOCAL_CALLS | {"session.slave_local_login_with_password"}
PATHS = {"/": parse_xml, "/RPC2": parse_xml, "/jsonrpc": parse_json}

log = logging.getLogger(__name__)


class Web:
    """What a host answers. `listen` may be called for several addresses."""

    def __init__(self, toolstack: Toolstack, local: LocalAgent, restart: Callable[[], None]) -> None:
        self.toolstack = toolstack
        self.local = local
        self.restart = restart

    def listen(self, address: str, port: int, tls: ssl.SSLContext | None, *, is_local: bool = False) -> Listener:
        """Serve in the background. `is_local`: what comes here is dom0's local socket, root without a password."""
        listener = Listener((address, port), self, tls, is_local=is_local)
        threading.Thread(
            target=listener.serve_forever, args=(0.05,), name=f"listen {address}:{port}", daemon=True
        ).start()
        return listener

    # XenAPI

    def answer(self, path: str, body: bytes, *, is_local: bool) -> bytes:
        settings = self.toolstack.settings
        request = PATHS[path](body)
        if is_local and not settings.is_master and request.method not in SERVED_BY_MEMBERS:
            return self._forward(path, body, request)
        return self.toolstack.serve(request, Caller(settings.host, is_local))

    def _forward(self, path: str, body: bytes, request: Request) -> bytes:
        try:
            status, answer = self.ask_master(f"/lab/forward{path}", body)
            if status == 200:
                return answer
            log.error("the master answered %s", status)
        except (OSError, http.client.HTTPException) as error:
            log.warning("the master cannot be reached: %s", error)
        return request.fail(Failure("CANNOT_CONTACT_HOST", self.toolstack.settings.master_address))

    # Between hosts

    def ask_master(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Raises OSError when the master, or this host's own LAN, is gone."""
        settings = self.toolstack.settings
        join = "&" if "?" in path else "?"
        path = f"{path}{join}host={settings.host}"
        return post(settings.peers[settings.master], path, body, settings, timeout_s=FORWARD_TIMEOUT_S)

    def serve_agent(self, body: bytes) -> bytes:
        """An operation that the master wants done on this host."""
        wanted = json.loads(body)
        try:
            value = self.toolstack.local.call(wanted["operation"], wanted["timeout_s"], **wanted["arguments"])
            return json.dumps({"value": value}).encode()
        except Failure as failure:
            log.info("%s: %s", wanted["operation"], failure)
            return json.dumps({"failure": failure.description}).encode()
        except Exception as error:
            log.exception("%s", wanted["operation"])
            return json.dumps({"failure": internal_error(f"{type(error).__name__}: {error}").description}).encode()

    def serve_host(self, path: str, host: str, body: bytes) -> bytes:
        """What a member asks of the master."""
        if path.startswith("/lab/forward"):
            request = PATHS[path.removeprefix("/lab/forward")](body)
            return self.toolstack.serve(request, Caller(host, is_local=True))
        if path == "/lab/started":
            threading.Thread(target=startup.host_started, args=(self.toolstack, host), daemon=True).start()
            return b"{}"
        wanted = json.loads(body)
        if path == "/lab/import/begin":
            return json.dumps(imports.begin(self.toolstack, host, wanted["query"], wanted["path"])).encode()
        if path == "/lab/import/attach":
            try:
                given = imports.attach(self.toolstack, host, wanted["vdi"], writable=wanted["writable"])
            except Failure as failure:
                given = {"failure": failure.description}
            return json.dumps(given).encode()
        if path == "/lab/import/end":
            imports.end(self.toolstack, host, wanted)
            return b"{}"
        if path == "/lab/import/progress":
            if self.toolstack.db.exists("task", wanted["task"]):
                self.toolstack.db.set("task", wanted["task"], progress=wanted["progress"])
            return b"{}"
        raise Malformed(path)

    def tell_master(self, path: str, what: dict[str, Any]) -> dict[str, Any]:
        """Ask the master (it may be this host) about an import."""
        body = json.dumps(what).encode()
        if self.toolstack.settings.is_master:
            return dict(json.loads(self.serve_host(path, self.toolstack.settings.host, body)))
        status, answer = self.ask_master(path, body)
        if status != 200:
            raise OSError(f"the master answered {status}")
        return dict(json.loads(answer))


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], web: Web, tls: ssl.SSLContext | None, *, is_local: bool) -> None:
        self.web, self.tls, self.is_local = web, tls, is_local
        self._connections: set[socket.socket] = set()
        super().__init__(address, Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a slow handshake keeps nobody waiting."""
        if self.tls is None:
            self._serve(request, client_address)
            return
        request.settimeout(HANDSHAKE_TIMEOUT_S)
        with self.tls.wrap_socket(request, server_side=True) as wrapped:
            self._serve(wrapped, client_address)

    def _serve(self, connection: socket.socket, client_address: Any) -> None:
        self._connections.add(connection)
        try:
            super().finish_request(connection, client_address)
        finally:
            self._connections.discard(connection)

    def server_close(self) -> None:
        """Connections that are kept open end with the process, too."""
        super().server_close()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Clients that go away are of every day; an answer that failed to come for another reason is not."""
        is_network = isinstance(sys.exception(), OSError)
        log.log(logging.DEBUG if is_network else logging.ERROR, "connection of %s", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    server: Listener
    protocol_version = "HTTP/1.1"
    server_version = "xapi"
    timeout = IDLE_TIMEOUT_S
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Requests carry sessions in their query: not logged."""

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/lab/state":
            self._take_state(dict(parse_qsl(url.query)))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        web = self.server.web
        try:
            if url.path in PATHS:
                answer = web.answer(url.path, body, is_local=self.server.is_local)
                self._send(200, answer, "application/json" if url.path == "/jsonrpc" else "text/xml")
            elif url.path == "/lab/restart" and self.server.is_local:
                self._send(202, b"")
                web.restart()
            elif url.path.startswith("/lab/") and self._is_of_the_pool():
                query = dict(parse_qsl(url.query))
                is_agent = url.path == "/lab/agent"
                answer = web.serve_agent(body) if is_agent else web.serve_host(url.path, query["host"], body)
                self._send(200, answer, "application/json")
            else:
                self._send(404, b"")
        except (Malformed, KeyError, ValueError) as error:
            self.close_connection = True
            self._send(500, f"<html><body><h1>HTTP 500 internal server error</h1>{error}</body></html>".encode())

    def _take_state(self, query: dict[str, str]) -> None:
        """The memory of a VM that moves here from another host."""
        self.close_connection = True
        if not self._is_of_the_pool():
            self._send(404, b"")
            return
        source: Any = self.rfile
        try:
            self.server.web.local.take_state(query["vm"], source, int(self.headers["Content-Length"]))
            self._send(200, b"")
        except (Failure, OSError) as error:
            log.warning("the memory of %s was not taken: %s", query["vm"], error)
            self._send(500, str(error).encode())

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.close_connection = True
        if url.path != "/export_raw_vdi":
            self._send(404, b"")
            return
        grant = self._begin_import(url.path, dict(parse_qsl(url.query)))
        if grant is None:
            return
        name = f'attachment; filename="{grant["uuid"]}.raw"'
        self._start_stream(grant, {"Content-Type": "application/octet-stream", "Content-Disposition": name})
        sink: Any = self.wfile

        def move(place: Place) -> None:
            imports.send(self.server.web.local.transfers, place, sink, self._progress(grant["task"]))
            sink.flush()

        is_whole = self._with_disk(grant, move, is_import=False)
        self.connection.settimeout(CLOSE_TIMEOUT_S)
        with contextlib.suppress(OSError):
            if is_whole and isinstance(self.connection, ssl.SSLSocket):
                self.connection.unwrap()  # TLS says that this was the end
            elif not is_whole:
                self.connection.shutdown(socket.SHUT_RDWR)  # the client sees that it was not

    def do_PUT(self) -> None:
        url = urlsplit(self.path)
        self.close_connection = True
        if url.path != "/import_raw_vdi":
            self._send(404, b"")
            return
        if self.headers.get("Transfer-Encoding"):
            self._send(403, b"")
            return
        query = {**dict(parse_qsl(url.query)), "content-length": self.headers.get("Content-Length", "")}
        chunked = "chunked" in query or "chunked=" in self.headers.get("Cookie", "")
        grant = self._begin_import(url.path, query)
        if grant is None:
            return
        self._start_stream(grant, {"Content-Type": "application/octet-stream"})
        source: Any = self.rfile

        def move(place: Place) -> None:
            report = self._progress(grant["task"])
            imports.receive(source, self.server.web.local.transfers, place, report, chunked=chunked)

        self._with_disk(grant, move, is_import=True)

    def _start_stream(self, grant: dict[str, Any], headers: dict[str, str]) -> None:
        """200 OK, before anything is done: that is how xapi has it."""
        self.send_response(200)
        for name, value in {"Connection": "close", "task-id": grant["task"], **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def _with_disk(self, grant: dict[str, Any], move: Callable[[Place], None], *, is_import: bool) -> bool:
        """Have the disk attached here, do it, have it taken back, end the task. Whether all went well."""
        web, vbd, failure = self.server.web, "", None
        try:
            given = web.tell_master("/lab/import/attach", {"vdi": grant["vdi"], "writable": is_import})
            if "failure" in given:
                raise Failure(*given["failure"])
            vbd = given["vbd"]
            move(Place(**given["disk"]))
        except Failure as error:
            failure = error
        except OSError as error:
            failure = internal_error(f"the transfer broke off: {error}")
        told = {"task": grant["task"], "vbd": vbd, "vdi": grant["vdi"], "is_import": is_import}
        web.tell_master("/lab/import/end", {**told, "failure": failure.description if failure else None})
        return failure is None

    def _begin_import(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        """The master's leave, or None when the answer has been sent already."""
        grant = self.server.web.tell_master("/lab/import/begin", {"path": path, "query": query})
        if grant["status"] == 200:
            return grant
        self.close_connection = True
        if grant["status"] == 302:
            self.send_response(302)
            self.send_header("Location", f"https://{grant['address']}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(grant["status"], b"")
        return None

    def _progress(self, task: str) -> Callable[[float], None]:
        last = 0.0

        def report(fraction: float) -> None:
            nonlocal last
            if fraction - last >= 0.05:
                last = fraction
                what = {"task": task, "progress": min(fraction, 1.0)}
                self.server.web.tell_master("/lab/import/progress", what)

        return report

    def _is_of_the_pool(self) -> bool:
        given = self.headers.get("X-Pool-Secret", "")
        return hmac.compare_digest(given.encode(), self.server.web.toolstack.settings.pool_secret.encode())

    def _send(self, status: int, body: bytes, content_type: str = "text/html") -> None:
        self._start(status, len(body), content_type)
        self.wfile.write(body)

    def _start(self, status: int, length: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
