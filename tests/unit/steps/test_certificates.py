"""The volume services' certificates, in a real TLS handshake."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from shoal.kit.secret import Secret
from shoal.steps import certificates
from shoal.steps.certificates import Pair


def context(folder: Path, ca: Pair, own: Pair, purpose: ssl.Purpose) -> ssl.SSLContext:
    folder.mkdir()
    (folder / "own.pem").write_text(own.certificate + own.key.reveal())
    made = ssl.create_default_context(purpose, cadata=ca.certificate)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(folder / "own.pem")
    return made


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """What the client reads from the server after a handshake in which each has checked the other."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError), server.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as plain,
            client.wrap_socket(plain, server_hostname=name) as wrapped,
        ):
            return wrapped.recv(5)
    finally:
        thread.join(5)
        listener.close()


def test_both_sides_trust_each_other_by_one_authority(tmp_path: Path) -> None:
    ca = certificates.make_authority()
    server = context(tmp_path / "s", ca, certificates.make_server(ca, "s", "127.0.0.1"), ssl.Purpose.CLIENT_AUTH)
    client = context(tmp_path / "c", ca, certificates.make_client(ca, "xen1"), ssl.Purpose.SERVER_AUTH)
    assert handshake(server, client, "127.0.0.1") == b"hello"


def test_a_server_at_another_address_is_refused(tmp_path: Path) -> None:
    ca = certificates.make_authority()
    server = context(tmp_path / "s", ca, certificates.make_server(ca, "s", "10.77.0.21"), ssl.Purpose.CLIENT_AUTH)
    client = context(tmp_path / "c", ca, certificates.make_client(ca, "xen1"), ssl.Purpose.SERVER_AUTH)
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        handshake(server, client, "127.0.0.1")


def test_a_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    ca, other = certificates.make_authority(), certificates.make_authority()
    server = context(tmp_path / "s", ca, certificates.make_server(ca, "s", "127.0.0.1"), ssl.Purpose.CLIENT_AUTH)
    client = context(tmp_path / "c", ca, certificates.make_client(other, "xen1"), ssl.Purpose.SERVER_AUTH)
    with pytest.raises(OSError):
        assert handshake(server, client, "127.0.0.1") == b"hello"


def test_whose_certificate_it_is_and_whether_a_key_fits() -> None:
    ca, other = certificates.make_authority(), certificates.make_authority()
    client = certificates.make_client(ca, "xen1")
    assert certificates.is_by(ca.certificate, client.certificate)
    assert not certificates.is_by(other.certificate, client.certificate)
    assert not certificates.is_by(ca.certificate, "nonsense")
    assert certificates.belong_together(ca)
    assert not certificates.belong_together(Pair(ca.certificate, other.key))
    assert not certificates.belong_together(Pair(ca.certificate, Secret("nonsense")))
