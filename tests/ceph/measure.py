"""Times the volume service's calls on the little Ceph, as JSON: `python -m tests.ceph.measure [IMAGES …]`. Needs root.

What the caller waits, with the connection open, so without TLS's handshake. Then a list of so many images.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.service import CAPS, Service, write_client_files

ROUNDS = 40
MIB = 1 << 20


class Client:
    def __init__(self, service: Service) -> None:
        self._connection = service.connect()

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        self._connection.request(method, f"/v1/pools/rbd/{path}", None if body is None else json.dumps(body))
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return dict(answer)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return (time.monotonic() - started) * 1000


def measure_calls(client: Client) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {}

    def note(name: str, *call: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        times.setdefault(name, []).append(timed(lambda: answer.update(client.ask(*call))))
        return answer

    for _ in range(ROUNDS):
        volume, clone, copy = (str(uuid.uuid4()) for _ in range(3))
        note("create", "PUT", f"volumes/{volume}", {"size_bytes": 64 * MIB, "metadata": {"name_label": "x"}})
        body = {"snapshot": str(uuid.uuid4()), "metadata": {}}
        snapshot = note("snapshot", "POST", f"volumes/{volume}/snapshot", body)["location"]
        note("clone of a snapshot", "PUT", f"volumes/{clone}", {"source": snapshot, "metadata": {}})
        note("clone of a volume", "PUT", f"volumes/{copy}", {"source": volume, "metadata": {}})
        note("stat", "GET", f"volumes/{volume}")
        note("holders", "GET", f"volumes/{volume}/holders")
        note("resize", "POST", f"volumes/{volume}/resize", {"size_bytes": 128 * MIB})
        note("revert", "POST", f"volumes/{volume}/revert", {"snapshot": snapshot})
        note("delete", "DELETE", f"volumes/{volume}")
        note("delete of a snapshot", "DELETE", f"snapshots/{snapshot}")
        client.ask("DELETE", f"volumes/{clone}")
        client.ask("DELETE", f"volumes/{copy}")
    return {
        name: {
            "median_ms": round(statistics.median(found), 1),
            "p95_ms": round(sorted(found)[int(len(found) * 0.95)], 1),
        }
        for name, found in times.items()
    }


def measure_list(service: Service, client: Client, images: int) -> dict[str, float]:
    """The pool grows to that many images."""
    missing = images - len(client.ask("GET", "volumes")["volumes"])
    clients = [Client(service) for _ in range(4)]

    def make(number: int) -> None:
        mine = clients[number]
        for _ in range(number, missing, len(clients)):
            metadata = {"name_label": "a disk", "name_description": "of a machine", "type": "user"}
            mine.ask("PUT", f"volumes/{uuid.uuid4()}", {"size_bytes": 64 * MIB, "metadata": metadata})

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(make, range(len(clients))))
    found = [timed(lambda: client.ask("GET", "volumes")) for _ in range(5)]
    return {"images": images, "median_ms": round(statistics.median(found), 1), "best_ms": round(min(found), 1)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster, authority = Cluster(Path(folder) / "cluster"), Authority.make()
        try:
            cluster.start()
            cluster.make_user("shoal-volumes", *CAPS)
            write_client_files(authority, Path(folder) / "client")
            service = Service(cluster, Path(folder) / "client", authority)
            service.start()
            client = Client(service)
            result: dict[str, Any] = {"calls": measure_calls(client)}
            result["list"] = [measure_list(service, client, int(images)) for images in sys.argv[1:] or ("1000",)]
            print(json.dumps(result, indent=2))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
