"""What Ceph's daemons run and how an upgrade stands, out of the orchestrator's answers. Changes nothing.

But for one thing: an image that no storage VM has is pulled to one of them, where the orchestrator looks at it.
"""

from __future__ import annotations

import asyncio
import json
import re

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.connections import Connections
from shoal.clients.xenapi import XenApi
from shoal.facts.ceph_upgrade import CephUpgrade, Copy, Daemon, Image
from shoal.kit.errors import ShoalError
from shoal.observe.reading import Answer, NotUnderstood, flag, text, text_table
from shoal.spec.names import VOLUME_SERVICE

CEPHS_OWN = ("mon", "mgr", "osd", "mds", "rgw", "crash", "ceph-exporter")
PULL_TIMEOUT_S = 900.0  # as long as cephadm gives itself
INSPECT_TIMEOUT_S = 30.0


async def look_at_upgrade(ceph: Ceph) -> CephUpgrade:
    status, daemons, hosts = await ceph.commands(
        [["orch", "upgrade", "status"], ["orch", "ps"], ["orch", "host", "ls"]]
    )
    return read_upgrade(status, daemons, hosts)


async def look_at_image(connections: Connections, image: str) -> Image:
    """First where it is, since the orchestrator pulls what it cannot find."""
    hosts = [host.name for host in connections.spec.hosts]
    copies = await asyncio.gather(*(_copy(connections, host, image) for host in hosts))
    try:
        ceph = await connections.ceph()
        said = await ceph.text(["orch", "upgrade", "check", "--image", image], timeout_s=PULL_TIMEOUT_S)
    except CephRefused as error:
        return Image(refusal=error.brief, copies=tuple(copies))
    return read_image(said, tuple(copies))


async def hosts_in_maintenance(xenapi: XenApi) -> tuple[str, ...]:
    """As the keeper has it: the mark that a person or Shoal set."""
    hosts = (await xenapi.records("host")).values()
    marked = (text(host, "name_label") for host in hosts if "shoal:maintenance" in text_table(host, "other_config"))
    return tuple(sorted(marked))


def read_upgrade(status: object, daemons: object, hosts: object) -> CephUpgrade:
    about, rows = _table(status), _rows(daemons)
    found = [daemon for daemon in rows if text(daemon, "daemon_type") in CEPHS_OWN]
    services = [daemon for daemon in rows if text(daemon, "service_name", "") == VOLUME_SERVICE]
    away = [text(host, "hostname") for host in _rows(hosts) if text(host, "status", "").strip()]
    progress = _words(about, "progress")
    return CephUpgrade(
        daemons=tuple(sorted((_daemon(daemon) for daemon in found), key=lambda one: one.name)),
        volume_service_images=tuple(sorted({_words(daemon, "container_image_name") for daemon in services})),
        in_progress=flag(about, "in_progress", default=False),
        is_paused=flag(about, "is_paused", default=False),
        target=_words(about, "target_image"),
        message=", ".join(part for part in (progress, _words(about, "message")) if part),
        maintenance=tuple(sorted(away)),
    )


def read_image(said: str, copies: tuple[Copy, ...]) -> Image:
    """`orch upgrade check` prints a table; where it objects, a sentence, and no error."""
    try:
        answer = _table(json.loads(said))
    except ValueError:
        return Image(refusal=said.strip(), copies=copies)
    version = re.search(r"ceph version (\S+)", _words(answer, "target_version"))
    return Image(version.group(1) if version else "", _words(answer, "target_digest"), copies=copies)


async def _copy(connections: Connections, host: str, image: str) -> Copy:
    argv = ["docker", "image", "inspect", "--format", "{{.Id}} {{len .RepoDigests}}", image]
    try:
        guest = await connections.storage_vm(host)
        done = await guest.run(argv, timeout_s=INSPECT_TIMEOUT_S, check=False)
    except ShoalError as error:
        return Copy(host, unseen=error.brief)
    words = done.stdout.split()
    if done.code == 0 and len(words) == 2:
        return Copy(host, words[0], has_digest=words[1] != "0")
    if "no such image" in done.stderr.lower():
        return Copy(host)
    return Copy(host, unseen=f"docker image inspect: {done.stderr.strip()[-200:]}")


def _daemon(daemon: Answer) -> Daemon:
    name = f"{text(daemon, 'daemon_type')}.{text(daemon, 'daemon_id')}"
    digests = daemon.get("container_image_digests") or []
    # cephadm writes none as one that is empty
    known = tuple(str(digest) for digest in digests if digest) if isinstance(digests, list) else ()
    return Daemon(name, _words(daemon, "container_image_name"), _words(daemon, "version"), known)


def _words(answer: Answer, key: str) -> str:
    """Text, or "" for null and for what is not there."""
    return "" if answer.get(key) is None else text(answer, key)


def _rows(answer: object) -> list[Answer]:
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise NotUnderstood("the orchestrator's answer should be a list of tables")
    return answer


def _table(answer: object) -> Answer:
    if not isinstance(answer, dict):
        raise NotUnderstood("the orchestrator's answer should be a table")
    return answer
