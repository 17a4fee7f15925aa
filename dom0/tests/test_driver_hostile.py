"""Volume services that send more than can be right. What a call takes of dom0's memory and time stays bounded."""

from __future__ import annotations

import shutil
import ssl
import time
import xmlrpc.client
from pathlib import Path

import pytest

from dom0.shoal_dom0 import plain_json
from dom0.tests.host import Host
from dom0.tests.paper_pool import PaperPool
from dom0.tests.test_driver_trouble import Behaviour, answer, owned_pool, serving
from tests.ceph.certificates import Authority

SHORT_MAX_MIB = 32
LONG_MAX_MIB = 256 + 32  # the bound is for the process's own data; its libraries come on top
LIST_MAX_BYTES = 16 << 20


def claims_much(connection: ssl.SSLSocket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n{")
    time.sleep(30)


def sends_without_end(connection: ssl.SSLSocket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def says_much(connection: ssl.SSLSocket) -> None:
    answer(connection, 409, b'{"error": {"code": "owned", "message": "%s"}}' % (b"no " * 50_000))


def unpacks_to_much(connection: ssl.SSLSocket) -> None:
    body = b'{"volumes": [%s[]]}'
    answer(connection, 200, body % (b"[]," * ((LIST_MAX_BYTES - len(body)) // 3)))


@pytest.fixture
def host(lone_host: Host, client_files: Path) -> Host:
    shutil.copytree(client_files, lone_host.folder / "volumes")
    return lone_host


@pytest.mark.parametrize("behaviour", [claims_much, sends_without_end])
def test_an_answer_about_the_pool_is_short_or_none(host: Host, authority: Authority, behaviour: Behaviour) -> None:
    with (
        serving(authority, host.folder, behaviour) as bad,
        serving(authority, host.folder, owned_pool(host.sr)) as good,
    ):
        host.device_config["volumes"] = f"{bad},{good}"
        started = time.monotonic()
        assert host.peak_mib("sr_attach") < SHORT_MAX_MIB
        assert time.monotonic() - started < 5


def test_a_list_that_fills_the_memory_is_given_up(host: Host, authority: Authority, tmp_path: Path) -> None:
    pool = PaperPool(tmp_path, authority, 3)
    pool.owner = host.sr
    try:
        with serving(authority, host.folder, unpacks_to_much) as bad:
            host.device_config["volumes"] = f"{bad},{pool.endpoint}"
            assert host.peak_mib("sr_scan") < LONG_MAX_MIB
    finally:
        pool.stop()
    assert len(host.toolstack.vdis) == 3


def test_what_a_service_says_is_passed_on_in_part(host: Host, authority: Authority) -> None:
    with serving(authority, host.folder, says_much) as bad:
        host.device_config["volumes"] = bad
        with pytest.raises(xmlrpc.client.Fault, match="no no no") as caught:
            host.call("sr_attach")
    assert len(caught.value.faultString) < 1000


def test_a_number_of_many_digits_is_none() -> None:
    """Python 3.6 would work on a million of them for half a minute."""
    assert plain_json.loads('{"size": 18446744073709551616}') == {"size": 2**64}
    with pytest.raises(ValueError, match="digits"):
        plain_json.loads('{"size": %s}' % ("9" * 41))
