"""Who is let in, and how calls that are no good are refused."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import XenAPI  # type: ignore[import-untyped]

from lab.xapi.loopback import PASSWORD, LoopbackPool
from tests.contract.pools import log_in, make_sr, refused, vdi_record

UNCHECKED = ssl._create_unverified_context()


def post(url: str, body: str) -> bytes:
    return bytes(urlopen(Request(url, body.encode()), context=UNCHECKED).read())


def json_call(url: str, method: str, *parameters: Any, version: str | None = "2.0") -> Any:
    call = {"method": method, "params": parameters, "id": 7}
    return json.loads(post(f"{url}/jsonrpc", json.dumps({**call, "jsonrpc": version} if version else call)))


def test_the_password_is_checked(pool: LoopbackPool) -> None:
    session = XenAPI.Session(pool.url, ignore_ssl=True)
    for user, password in (("root", "wrong"), ("nobody", PASSWORD)):
        error = refused(session.xenapi.login_with_password, user, password)
        assert error[0] == "SESSION_AUTHENTICATION_FAILED"
        assert password not in error


def test_a_session_ends(pool: LoopbackPool) -> None:
    session = XenAPI.Session(pool.url, ignore_ssl=True)
    session.xenapi.login_with_password("root", PASSWORD, "1.0", "me")
    own = session._session
    session.xenapi.session.logout()
    answer = json_call(pool.url, "host.get_all", own)
    assert answer["error"]["message"] == "SESSION_INVALID" and answer["error"]["data"] == [own]


def test_members_send_to_the_master(three: LoopbackPool) -> None:
    member = XenAPI.Session(three.hosts["xen2"].url, ignore_ssl=True)
    with pytest.raises(XenAPI.Failure) as error:
        member.login_with_password("root", PASSWORD)
    assert error.value.details == ["HOST_IS_SLAVE", "127.0.0.1"]
    master = XenAPI.Session(three.url, ignore_ssl=True)
    master.xenapi.login_with_password("root", PASSWORD)
    answer = json_call(three.hosts["xen2"].url, "host.get_all", master._session)
    assert answer["error"]["message"] == "HOST_IS_SLAVE"
    url = three.hosts["xen2"].url
    local = json_call(url, "session.slave_local_login_with_password", "root", PASSWORD)["result"]
    assert json_call(url, "session.local_logout", local)["result"] == ""


def test_the_local_socket_needs_no_password_and_knows_its_host(three: LoopbackPool) -> None:
    for name in ("xen1", "xen2"):
        url = f"http://127.0.0.1:{three.local_ports[name]}"
        own = json_call(url, "session.login_with_password", "root", "", "1.0", "keeper")["result"]
        host = json_call(url, "session.get_this_host", own, own)["result"]
        assert json_call(url, "host.get_name_label", own, host)["result"] == name


def test_a_members_local_socket_says_when_the_master_is_gone(three: LoopbackPool) -> None:
    three.master.stop()
    url = f"http://127.0.0.1:{three.local_ports['xen2']}"
    answer = json_call(url, "session.login_with_password", "root", "")
    assert answer["error"] == {"code": 1, "message": "CANNOT_CONTACT_HOST", "data": ["127.0.0.1"]}


def test_json_in_both_versions(pool: LoopbackPool) -> None:
    one = json_call(pool.url, "session.login_with_password", "root", PASSWORD, version=None)
    assert one["error"] is None and one["id"] == 7
    bad = json_call(pool.url, "SR.get_uuid", one["result"], "OpaqueRef:none", version=None)
    assert bad == {"result": None, "error": ["HANDLE_INVALID", "SR", "OpaqueRef:none"], "id": 7}
    two = json_call(pool.url, "SR.get_uuid", one["result"], "OpaqueRef:none")
    assert two["error"] == {"code": 1, "message": "HANDLE_INVALID", "data": ["SR", "OpaqueRef:none"]}


def test_json_drives_a_disks_life_with_numbers_or_strings(pool: LoopbackPool) -> None:
    sr = make_sr(log_in(pool), pool)
    session = json_call(pool.url, "session.login_with_password", "root", PASSWORD)["result"]
    vdi = json_call(pool.url, "VDI.create", session, {**vdi_record(sr), "virtual_size": 1048576})["result"]
    record = json_call(pool.url, "VDI.get_record", session, vdi)["result"]
    assert (record["virtual_size"], record["snapshot_time"]) == ("1048576", "19700101T00:00:00Z")
    where = json_call(pool.url, "VDI.get_all_records_where", session, f'field "SR" = "{sr}"')["result"]
    assert list(where) == [vdi]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/", "<methodCall><methodName>session.logout</methodName>"), ("/jsonrpc", '{"jsonrpc": "2.0"}'), ("/", "no")],
)
def test_what_is_no_request_is_an_http_error(pool: LoopbackPool, path: str, body: str) -> None:
    with pytest.raises(HTTPError) as error:
        post(f"{pool.url}{path}", body)
    assert error.value.code == 500


def test_calls_that_are_no_good(api: Any) -> None:
    assert refused(api.SR.fly, "x") == ["MESSAGE_METHOD_UNKNOWN", "SR.fly"]
    assert refused(api.SR.get_uuid) == ["MESSAGE_PARAMETER_COUNT_MISMATCH", "SR.get_uuid", "2", "1"]
    assert refused(api.VDI.get_by_uuid, "none") == ["UUID_INVALID", "VDI", "none"]
    (pool_ref,) = api.pool.get_all()
    api.pool.add_to_other_config(pool_ref, "lock", "mine")
    error = refused(api.pool.add_to_other_config, pool_ref, "lock", "yours")
    assert error[0] == "MAP_DUPLICATE_KEY" and "lock" in error
    api.pool.remove_from_other_config(pool_ref, "lock")
    api.pool.remove_from_other_config(pool_ref, "lock")
    assert refused(api.pool.set_name_label, pool_ref, 5) == ["FIELD_TYPE_ERROR", "value"]


def test_hosts_trust_each_other_by_the_pools_secret_only(pool: LoopbackPool) -> None:
    with pytest.raises(HTTPError) as error:
        post(f"{pool.url}/lab/agent", '{"operation": "hello", "timeout_s": 1, "arguments": {}}')
    assert error.value.code == 404
    with pytest.raises(HTTPError):
        post(f"{pool.url}/lab/restart", "")  # the local socket's alone
    assert not pool.master.restarts.is_set()
    post(f"http://127.0.0.1:{pool.local_ports['xen1']}/lab/restart", "")
    assert pool.master.restarts.wait(1)
