"""Who is the pool's master, as dom0's /etc/xensource/pool.conf says it, where Shoal's keeper reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.xapi.dom0 import LocalDom0
from lab.xapi.loopback import LoopbackHost, LoopbackPool
from tests.contract.pools import log_in, refused
from tests.contract.test_sessions import json_call

SLAVE_OF = "slave:127.0.0."


def role_file(host: LoopbackHost) -> Path:
    return host.root / "etc/xensource/pool.conf"


def roles(pool: LoopbackPool) -> list[str]:
    return [role_file(host).read_text() for host in pool.hosts.values()]


def local(pool: LoopbackPool, host: str, method: str, *parameters: Any) -> dict[str, Any]:
    """On a host's local socket, with a session of that host alone."""
    url = f"http://127.0.0.1:{pool.local_ports[host]}"
    own = json_call(url, "session.slave_local_login_with_password", "root", "")["result"]
    return dict(json_call(url, method, own, *parameters))


def restart(host: LoopbackHost) -> None:
    assert host.restarts.is_set()
    host.restarts.clear()
    host.stop()
    host.start()


def test_the_file_says_it_from_the_start_on(three: LoopbackPool) -> None:
    assert roles(three) == ["master", SLAVE_OF + "1", SLAVE_OF + "1"]
    role_file(three.hosts["xen3"]).unlink()  # as on a disk that is made anew
    three.hosts["xen3"].stop()
    three.hosts["xen3"].start()
    assert roles(three)[2] == SLAVE_OF + "1"


def test_the_file_says_it_before_the_call_that_changes_it_is_answered(three: LoopbackPool) -> None:
    """A keeper that reads `slave` after it has made its host the master takes that for an end of it."""
    first, second, third = three.hosts.values()
    first.stop()
    assert local(three, "xen2", "pool.emergency_transition_to_master")["result"] == ""
    assert roles(three) == ["master", "master", SLAVE_OF + "1"]
    restart(second)
    log_in(three).pool.recover_slaves()
    assert roles(three) == ["master", "master", SLAVE_OF + "2"]
    restart(third)
    first.start()  # it finds another master, before it answers
    assert roles(three) == [SLAVE_OF + "2", "master", SLAVE_OF + "2"]


def test_a_member_is_told_its_master_by_a_person(three: LoopbackPool) -> None:
    assert local(three, "xen2", "pool.emergency_reset_master", "127.0.0.3")["result"] == ""
    assert roles(three)[1] == SLAVE_OF + "3" and three.hosts["xen2"].restarts.is_set()


def test_a_host_that_leaves_is_its_own_master_and_a_member_when_it_joins_again(three: LoopbackPool) -> None:
    api, left = log_in(three), three.hosts["xen2"]
    (ref,) = api.host.get_by_name_label("xen2")
    api.pool.eject(ref)
    assert roles(three) == ["master", "master", SLAVE_OF + "1"]
    left.stop()
    left.start()
    assert roles(three)[1] == SLAVE_OF + "1" and api.host.get_by_name_label("xen2") != []


def test_a_role_that_cannot_be_written_is_not_taken(three: LoopbackPool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = LocalDom0.write

    def fail(dom0: LocalDom0, path: str, text: str) -> None:
        if dom0.name != "xen2":
            return write(dom0, path, text)
        raise OSError("No space left on device")

    monkeypatch.setattr(LocalDom0, "write", fail)
    assert "No space left" in str(local(three, "xen2", "pool.emergency_transition_to_master")["error"])
    assert roles(three)[1] == SLAVE_OF + "1" and not three.hosts["xen2"].restarts.is_set()
    assert three.settings("xen2").master == "xen1"
    api = log_in(three)
    (ref,) = api.host.get_by_name_label("xen2")
    assert refused(api.pool.eject, ref)[0] == "INTERNAL_ERROR"
    assert api.host.get_by_name_label("xen2") == [ref]
