"""What Ceph's daemons run and how an upgrade stands, out of the orchestrator's answers. Changes nothing."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.clients.xenapi import XenApi
from shoal.facts.ceph_upgrade import CephUpgrade, Daemon
from shoal.observe.reading import Answer, NotUnderstood, flag, text, text_table
from shoal.spec.names import VOLUME_SERVICE

CEPHS_OWN = ("mon", "mgr", "osd", "mds", "rgw", "crash")


async def look_at_upgrade(ceph: Ceph) -> CephUpgrade:
    status, daemons, hosts = await ceph.commands(
        [["orch", "upgrade", "status"], ["orch", "ps"], ["orch", "host", "ls"]]
    )
    return read_upgrade(status, daemons, hosts)


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


def _daemon(daemon: Answer) -> Daemon:
    name = f"{text(daemon, 'daemon_type')}.{text(daemon, 'daemon_id')}"
    return Daemon(name, _words(daemon, "container_image_name"), _words(daemon, "version"))


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
