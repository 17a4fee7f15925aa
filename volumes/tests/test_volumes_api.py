"""The volume service against a real Ceph: what each call does, and that it may be repeated."""

from __future__ import annotations

import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30
POOL = "pools/rbd"


@pytest.fixture
def volume(service: Service) -> Iterator[str]:
    made = str(uuid.uuid4())
    assert (
        service.ask("PUT", f"{POOL}/volumes/{made}", {"size_bytes": GIB, "metadata": {"name_label": "näme"}})[0] == 200
    )
    yield made
    service.ask("DELETE", f"{POOL}/volumes/{made}")


def refusal(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def test_status_names_the_cluster(service: Service) -> None:
    status, answer = service.ask("GET", "status")
    assert status == 200
    assert answer["ceph"]["fsid"] == service.cluster.fsid
    assert answer["ceph"]["monitors"] == [service.cluster.v1_address]
    assert answer["ceph"]["health"].startswith("HEALTH_")


def test_a_client_without_a_certificate_is_refused(service: Service) -> None:
    connection = service.connect(certificate=False)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connection.request("GET", "/v1/status")
        connection.getresponse()


def test_a_volume_is_made_once(service: Service, volume: str) -> None:
    body = {"size_bytes": GIB, "metadata": {"name_label": "näme"}}
    expected = {"id": volume, "size_bytes": GIB, "metadata": {"name_label": "näme"}}
    assert service.ask("PUT", f"{POOL}/volumes/{volume}", body) == (200, expected)
    assert service.ask("GET", f"{POOL}/volumes/{volume}") == (200, expected)
    assert expected in service.ask("GET", f"{POOL}/volumes")[1]["volumes"]
    assert refusal(service.ask("PUT", f"{POOL}/volumes/{volume}", {"size_bytes": 2 * GIB})) == (409, "exists")
    info = json.loads(service.cluster.rbd("info", f"rbd/vdi-{volume}", "--format", "json"))
    assert sorted(info["features"]) == ["exclusive-lock", "layering"]


def test_two_creations_at_once_make_one_volume(service: Service) -> None:
    made = str(uuid.uuid4())
    answers: list[int] = []

    def create() -> None:
        answers.append(service.ask("PUT", f"{POOL}/volumes/{made}", {"size_bytes": GIB})[0])

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    service.ask("DELETE", f"{POOL}/volumes/{made}")


def test_a_creation_cut_short_is_finished(service: Service) -> None:
    """librbd writes the name's object first: an image that has no more than that is as good as none."""
    made = str(uuid.uuid4())
    (service.cluster.files / "id").write_bytes(b"\x04\x00\x00\x00abcd")
    rados = ("rados", "-c", "/scratch/ceph.conf", "--keyring", "/scratch/admin.keyring", "-p", "rbd")
    service.cluster.run(*rados, "put", f"rbd_id.vdi-{made}", "/scratch/id")
    assert refusal(service.ask("GET", f"{POOL}/volumes/{made}")) == (404, "not_found")
    assert service.ask("PUT", f"{POOL}/volumes/{made}", {"size_bytes": GIB})[0] == 200
    assert service.ask("GET", f"{POOL}/volumes/{made}")[1]["size_bytes"] == GIB
    service.ask("DELETE", f"{POOL}/volumes/{made}")


def test_metadata_is_set_changed_and_removed(service: Service, volume: str) -> None:
    change = {"name_label": "new", "name_description": "a\nb"}
    assert service.ask("PATCH", f"{POOL}/volumes/{volume}/metadata", change)[1]["metadata"] == change
    answer = service.ask("PATCH", f"{POOL}/volumes/{volume}/metadata", {"name_description": None})
    assert answer[1]["metadata"] == {"name_label": "new"}
    assert service.cluster.rbd("image-meta", "get", f"rbd/vdi-{volume}", "shoal.name_label").strip() == "new"


def test_large_metadata_is_listed(service: Service, volume: str) -> None:
    change = {f"key_{n}": "x" * 8000 for n in range(4)}
    service.ask("PATCH", f"{POOL}/volumes/{volume}/metadata", change)
    listed = {entry["id"]: entry for entry in service.ask("GET", f"{POOL}/volumes")[1]["volumes"]}
    assert change.items() <= listed[volume]["metadata"].items()


def test_resize_grows_only(service: Service, volume: str) -> None:
    path = f"{POOL}/volumes/{volume}/resize"
    for _ in range(2):
        assert service.ask("POST", path, {"size_bytes": 2 * GIB})[1]["size_bytes"] == 2 * GIB
    assert refusal(service.ask("POST", path, {"size_bytes": GIB})) == (409, "shrink")
    assert service.ask("GET", f"{POOL}/volumes/{volume}")[1]["size_bytes"] == 2 * GIB


def test_removed_volumes_leave_nothing(service: Service, volume: str) -> None:
    for removed in (True, False):
        assert service.ask("DELETE", f"{POOL}/volumes/{volume}")[1] == {"id": volume, "removed": removed}
    cluster = service.cluster
    cluster.wait_for(lambda: f"vdi-{volume}" not in cluster.rbd("trash", "ls", "rbd"), 20, "the purge")
    assert volume not in cluster.rbd("ls", "rbd")


def test_an_image_that_a_person_put_into_the_trash_stays(service: Service, volume: str) -> None:
    other = str(uuid.uuid4())
    service.cluster.rbd("create", "--size", "1M", f"rbd/vdi-{other}")
    service.cluster.rbd("trash", "mv", f"rbd/vdi-{other}")
    test_removed_volumes_leave_nothing(service, volume)
    (line,) = [line for line in service.cluster.rbd("trash", "ls", "rbd").splitlines() if other in line]
    service.cluster.rbd("trash", "rm", "--pool", "rbd", line.split()[0])


def test_images_of_others_are_not_volumes(service: Service) -> None:
    service.cluster.rbd("create", "--size", "1M", "rbd/lvm")
    assert "lvm" not in json.dumps(service.ask("GET", f"{POOL}/volumes")[1])
    service.cluster.rbd("rm", "rbd/lvm")


def test_a_pool_has_one_owner(service: Service) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    path = "pools/other/owner"
    assert service.ask("GET", path)[1] == {"sr": None}
    for _ in range(2):
        assert service.ask("PUT", path, {"sr": one}) == (200, {"sr": one})
    assert refusal(service.ask("PUT", path, {"sr": other})) == (409, "owned")
    assert refusal(service.ask("DELETE", path, {"sr": other})) == (409, "owned")
    volume = str(uuid.uuid4())
    service.ask("PUT", f"pools/other/volumes/{volume}", {"size_bytes": GIB})
    assert refusal(service.ask("DELETE", path, {"sr": one})) == (409, "not_empty")
    service.ask("DELETE", f"pools/other/volumes/{volume}")
    for _ in range(2):
        assert service.ask("DELETE", path, {"sr": one}) == (200, {"sr": None})


def test_disks_without_an_owner_are_nobodys_to_take_or_to_leave(service: Service) -> None:
    """A person has removed the mark, or a disk was made late, when it had been given back."""
    sr, volume, path = str(uuid.uuid4()), str(uuid.uuid4()), "pools/other/owner"
    assert service.ask("PUT", f"pools/other/volumes/{volume}", {"size_bytes": GIB})[0] == 200
    for method in ("PUT", "DELETE"):
        status, answer = service.ask(method, path, {"sr": sr})
        assert (status, answer["error"]["code"]) == (409, "not_empty")
    said = answer["error"]["message"]
    command = said[said.index("echo") : said.index(" ;")].replace("UUID", sr).replace("POOL", "other")
    admin = "rados -c /scratch/ceph.conf --keyring /scratch/admin.keyring"
    service.cluster.run("sh", "-c", command.replace("rados", admin))
    assert service.ask("PUT", path, {"sr": sr}) == (200, {"sr": sr})
    service.ask("DELETE", f"pools/other/volumes/{volume}")
    assert service.ask("DELETE", path, {"sr": sr}) == (200, {"sr": None})
    assert service.ask("GET", path)[1] == {"sr": None}


def test_namespaces_are_apart(service: Service) -> None:
    service.cluster.rbd("namespace", "create", "rbd/tenant")
    made = str(uuid.uuid4())
    assert service.ask("PUT", f"{POOL}/volumes/{made}?namespace=tenant", {"size_bytes": GIB})[0] == 200
    assert service.ask("GET", f"{POOL}/volumes/{made}?namespace=tenant")[0] == 200
    assert service.ask("GET", f"{POOL}/volumes/{made}")[0] == 404
    assert service.ask("DELETE", f"{POOL}/volumes/{made}?namespace=tenant")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"{POOL}/volumes/../owner", {}),
        ("PUT", f"{POOL}/volumes/{'A' * 36}", {"size_bytes": GIB}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": "1"}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": -1}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": True}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": 2**70}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": GIB, "metadata": {"conf_x": 1}}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": GIB, "metadata": {"No": "x"}}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", {"size_bytes": GIB, "metadata": []}),
        ("PUT", f"{POOL}/volumes/{uuid.uuid4()}", [1]),
        ("GET", "pools/a%2Fb", None),
        ("GET", f"{POOL}/volumes?namespace=a%2Fb", None),
        ("PUT", f"{POOL}/owner", {"sr": "x"}),
    ],
)
def test_bad_requests_are_refused(service: Service, method: str, path: str, body: Any) -> None:
    assert refusal(service.ask(method, path, body))[0] in (400, 404)


def test_the_key_reaches_no_other_pool(service: Service) -> None:
    service.cluster.make_pool("foreign")
    assert refusal(service.ask("PUT", f"pools/foreign/volumes/{uuid.uuid4()}", {"size_bytes": GIB}))[0] in (403, 502)


def test_pool_figures(service: Service) -> None:
    _, answer = service.ask("GET", POOL)
    assert answer["fsid"] == service.cluster.fsid
    assert 0 <= answer["used_bytes"] < answer["total_bytes"] <= 8 * GIB
