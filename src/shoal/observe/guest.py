"""Inside a storage VM: one round trip with guest_probe.py, and its answer read."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from shoal.clients.ssh import Ssh
from shoal.facts import Guest
from shoal.kit import shipped
from shoal.kit.certificate_name import lasting_name
from shoal.observe.clock import skew_s
from shoal.observe.reading import Answer, flag, parse, seconds, table, text, text_table, texts
from shoal.spec.names import CLIENTS_FILE, VOLUME_SERVICE_PORT

TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The guest's facts, and what only helps to see more: its cluster, whether a monitor runs, its disks' names."""

    guest: Guest
    fsid: str = ""
    has_mon: bool = False
    is_half_made: bool = False  # a bootstrap began there and has not ended
    devices: dict[str, str] = field(default_factory=dict)  # "xvdc" → the kernel's name, "loop7"


async def look_at_guest(ssh: Ssh) -> Seen:
    listen = [ssh.address, VOLUME_SERVICE_PORT]
    request = {"volumes": shipped.VOLUMES_CODE, "clients": CLIENTS_FILE, "listen": listen}
    source = Path(__file__).with_name("guest_probe.py").read_bytes()
    sent = time.time()
    done = await ssh.run(["python3", "-I", "-B", "-", json.dumps(request)], timeout_s=TIMEOUT_S, input=source)
    return read_guest(parse(done.stdout, ssh.name), sent, time.time())


def read_guest(answer: Answer, sent: float, received: float) -> Seen:
    """A guest whose Docker does not answer is not ready yet; whatever else was unreadable is not there."""
    errors = text_table(answer, "errors")
    docker = table(answer, "docker", {"images": [], "containers": []})
    containers = texts(docker, "containers")
    guest = Guest(
        is_ready=flag(answer, "is_initialised", default=False) and "docker" not in errors,
        clock_skew_s=round(skew_s(sent, received, seconds(answer, "clock") or [sent]), 3),
        images=texts(docker, "images"),
        volume_service=text(answer, "volume_service", ""),
        volume_service_runs=text(answer, "volume_service_runs", ""),
        volume_authority=text(answer, "volume_authority", "") if lasting_name(text(answer, "certificate", "")) else "",
        volume_clients=texts(answer, "volume_clients") if answer.get("volume_clients") is not None else None,
        volume_service_answers=flag(answer, "volume_service_answers", default=False),
    )
    return Seen(
        guest=guest,
        fsid=text(answer, "fsid", ""),
        has_mon=any(re.match(r"ceph-[0-9a-f-]+-mon[-.]", name) for name in containers),
        is_half_made=flag(answer, "is_half_made", default=False),
        devices=text_table(answer, "devices", {}),
    )
