"""A read-only look at a storage VM. Prints one JSON object. Sent to `python3 - REQUEST` there, imported nowhere.

Standard library only. REQUEST is a JSON object: `volumes` (folder of the volume service's code), `clients` (its list of
them) and `listen` (its address and port). A part that fails stands in `errors` with its reason.
"""

import hashlib
import http.client
import json
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

STARTED = time.time()
FSID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DOCKER = "/run/docker.sock"
TIMEOUT_S = 5


class Docker(http.client.HTTPConnection):
    """Docker's own socket: asking it costs no child process."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(DOCKER)

    def get(self, path: str) -> Any:
        self.request("GET", path)
        response = self.getresponse()
        text = response.read()
        if response.status != 200:
            raise OSError(f"Docker answers {response.status} to {path}")
        return json.loads(text)


def docker() -> dict[str, list[str]]:
    connection = Docker("localhost")
    images = [tag for image in connection.get("/images/json") for tag in image.get("RepoTags") or []]
    names = [name.lstrip("/") for container in connection.get("/containers/json") for name in container["Names"]]
    return {"images": sorted(images), "containers": sorted(names)}


def is_half_made() -> bool:
    """Whether a bootstrap began here and has not come to its end (shoal.steps.ceph_cluster writes the file)."""
    state = Path("/etc/shoal/ceph-bootstrap")
    return state.exists() and state.read_text().strip() != "complete"


def cluster() -> str:
    """The fsid of the cluster that this VM belongs to, or ""."""
    conf, folder = Path("/etc/ceph/ceph.conf"), Path("/var/lib/ceph")
    found = re.search(r"^\s*fsid\s*=\s*(\S+)", conf.read_text(), re.MULTILINE) if conf.exists() else None
    if found:
        return found[1]
    fsids = [path for path in folder.iterdir() if re.fullmatch(FSID, path.name)] if folder.is_dir() else []
    # An fsid's folder without a daemon is what a removed cluster leaves behind.
    return next((fsid.name for fsid in fsids if any("." in path.name for path in fsid.iterdir())), "")


def volume_service(folder: str) -> str:
    """Digest of the code, as shoal.kit.shipped makes it, if the step that deploys it came to its end; else ""."""
    files = Path(folder).rglob("*.py")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n" for path in files]
    found = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() if lines else ""
    written = Path(f"{folder}.digest")
    return found if written.exists() and written.read_text().strip() == found else ""


def volume_service_runs(folder: str) -> str:
    """Digest of the code that its service was last started with, by the step that starts it; "" while that is due."""
    written = Path(f"{folder}.running")
    return written.read_text().strip() if written.exists() else ""


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def volume_clients(file: str) -> list[str] | None:
    """None where there is no list, or one that nobody can read: it is written anew."""
    try:
        found = json.loads(Path(file).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def devices() -> dict[str, str]:
    """ "xvdc" → the kernel's name of the same disk (they differ where a link stands for it)."""
    return {
        path.name: path.resolve().name for path in Path("/dev").iterdir() if re.fullmatch(r"[a-z]*d[a-z]", path.name)
    }


def look(request: dict[str, Any]) -> dict[str, Any]:
    settings = Path(request["clients"]).parent
    parts = {
        "is_initialised": lambda: Path("/var/lib/cloud/instance/boot-finished").exists(),
        "docker": docker,
        "fsid": cluster,
        "is_half_made": is_half_made,
        "volume_service": lambda: volume_service(request["volumes"]),
        "volume_service_runs": lambda: volume_service_runs(request["volumes"]),
        "volume_authority": lambda: digest(settings / "ca.pem"),
        "certificate": lambda: (settings / "server.pem").read_text(),
        "volume_clients": lambda: volume_clients(request["clients"]),
        "volume_service_answers": lambda: answers(*request["listen"]),
        "devices": devices,
    }
    answer, errors = {}, {}
    for name, part in parts.items():
        try:
            answer[name] = part()
        except Exception as error:  # noqa: BLE001  whatever it is, it is told
            errors[name] = f"{type(error).__name__}: {error}"
    return {**answer, "errors": errors, "clock": [STARTED, time.time()]}


if __name__ == "__main__":
    json.dump(look(json.loads(sys.argv[1])), sys.stdout)
