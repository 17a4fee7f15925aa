"""A small real HTTPS server that speaks JSON-RPC as a toolstack does, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NotRequired, TypedDict
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SESSION = "OpaqueRef:session"
Image = TypedDict("Image", {"received": int, "data": bytearray, "ended": NotRequired[bool], "break": NotRequired[bool]})
"""What came of an import; with `break` the connection breaks at its first block."""


def certificate(folder: Path, name: str = "host") -> tuple[Path, str]:
    """Paths of a new self-signed certificate and its key, and its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path, f"sha256:{made.fingerprint(hashes.SHA256()).hex()}"


class Failure(Exception):
    pass


class Toolstack:
    """`calls` maps a method to what it answers: a value, or a function of the params. All requests are kept."""

    def __init__(self, certificate_path: Path, password: str = "pw") -> None:
        self.password, self.fingerprint = password, ""
        self.calls: dict[str, Any] = {}
        self.seen: list[tuple[str, list[Any]]] = []
        self.images: dict[str, Image] = {}
        self.raw: Sequence[bytes] | None = None  # bytes sent instead of an answer
        self.disk = b""  # what an export sends, without saying how long it is
        self.export_status = 200
        self.hang = threading.Event()
        handler = type("Handler", (_Handler,), {"toolstack": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_path)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, method: str, params: list[Any]) -> Any:
        if method == "session.login_with_password":
            if "login" in self.calls:
                return self.calls["login"]()
            if params[1] != self.password:
                raise Failure("SESSION_AUTHENTICATION_FAILED", params[0], "Authentication failure")
            return SESSION
        if params[0] != SESSION:
            raise Failure("SESSION_INVALID", params[0])
        answer = self.calls[method]
        return answer(*params[1:]) if callable(answer) else answer

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    toolstack: Toolstack

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stack = self.toolstack
        stack.seen.append((request["method"], request["params"]))
        if stack.raw is not None:
            with contextlib.suppress(OSError):
                for piece in stack.raw:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    if stack.hang.wait(0.05):
                        break
            self.close_connection = True
            return
        try:
            body = {"jsonrpc": "2.0", "id": request["id"], "result": stack.answer(request["method"], request["params"])}
        except Failure as failure:
            error = {"code": 1, "message": failure.args[0], "data": list(failure.args[1:])}
            body = {"jsonrpc": "2.0", "id": request["id"], "error": error}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.close_connection = True
        self.send_response(self.toolstack.export_status)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.toolstack.disk)

    def do_PUT(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.close_connection = True
        if query["session_id"] != SESSION:
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        image = self.toolstack.images.setdefault(query["vdi"], {"received": 0, "data": bytearray(16 << 20)})
        while True:
            header = self.rfile.read(12)
            offset, length = struct.unpack("<QI", header)
            if (offset, length) == (0, 0):
                image["ended"] = True
                return
            if image.get("break"):
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            data = self.rfile.read(length)
            image["received"] += length
            image["data"][offset : offset + length] = data


def wait_for(condition: Callable[[], object], timeout_s: float = 5) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
