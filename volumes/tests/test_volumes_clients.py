"""Whom the HTTPS server takes, of those whose certificate is good: real handshakes on loopback, no Ceph behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ceph.certificates import Authority
from volumes.config import load
from volumes.server import CONNECTIONS_MAX, Server
from volumes.strangers import MOST_EACH

ADDRESS = "127.0.0.1"
VALUES = {
    **{"listen": [ADDRESS, 0], "user": "nobody", "ceph_conf": "config.json", "keyring": "config.json"},
    **{"certificate": "server.pem", "key": "server.key", "ca": "ca.pem", "clients": "clients.json"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority.make()
    authority.write(tmp_path / "ca.pem")
    authority.issue("server", tmp_path / "server.pem", tmp_path / "server.key", address=ADDRESS)
    for name in ("xen1", "xen2"):
        authority.issue(name, tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    (tmp_path / "config.json").write_text(json.dumps(VALUES))
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(load(folder / "config.json"), lambda *_: {"answered": True})
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(10)


def connect(folder: Path, server: Server, who: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    return http.client.HTTPSConnection(ADDRESS, server.server_address[1], context=context, timeout=10)


def ask(connection: http.client.HTTPSConnection) -> tuple[int, dict[str, Any]]:
    connection.request("PUT", "/v1/anything", b"{}")
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_a_host_that_was_taken_off_the_list_is_refused_at_once(folder: Path, server: Server) -> None:
    (folder / "clients.json").write_text('["xen1", "xen2"]')
    stays, leaves = (connect(folder, server, who) for who in ("xen1", "xen2"))
    assert [ask(one)[0] for one in (stays, leaves)] == [200, 200]
    (folder / "clients.json").write_text('["xen1"]')
    assert ask(stays) == (200, {"answered": True})
    for connection in (leaves, connect(folder, server, "xen2")):  # one that was open, and a new one
        status, answer = ask(connection)
        assert (status, answer["error"]["code"]) == (403, "unknown_client")
        assert "'xen2'" in answer["error"]["message"]
        connection.close()
    stays.close()


def address_of(server: Server) -> tuple[str, int]:
    host, port = server.server_address[:2]
    return str(host), int(port)


def test_connections_that_say_nothing_keep_nobody_else_out(folder: Path, server: Server) -> None:
    (folder / "clients.json").write_text('["xen1"]')
    silent = [socket.create_connection(address_of(server), 10) for _ in range(80)]
    refused = sum(is_closed(one) for one in silent[MOST_EACH:])
    assert refused == 80 - MOST_EACH
    host = connect(folder, server, "xen1")
    host.source_address = ("127.0.0.2", 0)  # type: ignore[attr-defined]
    assert ask(host)[0] == 200
    for one in silent:
        one.close()
    again = connect(folder, server, "xen1")
    for _ in range(500):  # until the server has seen that they are gone
        try:
            assert ask(again)[0] == 200
            break
        except OSError:
            again.close()
            time.sleep(0.01)
    else:
        pytest.fail("the address is refused for ever")
    for connection in (host, again):
        connection.close()


def test_nor_do_those_of_a_host_that_was_taken_off_the_list(folder: Path, server: Server) -> None:
    (folder / "clients.json").write_text('["xen1"]')
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "xen2.pem", folder / "xen2.key")
    silent: list[ssl.SSLSocket] = []
    for _ in range(CONNECTIONS_MAX + 1):
        plain = socket.create_connection(address_of(server), 10)
        with contextlib.suppress(OSError):
            silent.append(context.wrap_socket(plain, server_hostname=ADDRESS))
    host = connect(folder, server, "xen1")
    host.source_address = ("127.0.0.2", 0)  # type: ignore[attr-defined]
    assert ask(host)[0] == 200
    host.close()
    for one in silent:
        one.close()


def test_settings_of_before_the_list_are_good_to_start_with(folder: Path) -> None:
    values = {key: value for key, value in VALUES.items() if key != "clients"}
    (folder / "config.json").write_text(json.dumps(values))
    assert load(folder / "config.json").clients == folder / "clients.json"


def is_closed(connection: socket.socket) -> bool:
    """By the server."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("text", [None, "", "{", '"xen1"', '{"xen1": true}', "[]", '["xen11"]', '["XEN1"]'])
def test_without_a_good_list_nobody_is_taken(folder: Path, server: Server, text: str | None) -> None:
    if text is not None:
        (folder / "clients.json").write_text(text)
    connection = connect(folder, server, "xen1")
    status, answer = ask(connection)
    assert (status, answer["error"]["code"]) == (403, "unknown_client")
    connection.close()
