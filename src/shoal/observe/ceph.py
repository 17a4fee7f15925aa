"""Ceph: one round trip with ceph_probe.py beside a monitor, and its answer read. Only here is Ceph's JSON known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shoal import facts
from shoal.clients.ceph import Ceph
from shoal.observe.reading import (
    Answer,
    NotUnderstood,
    flag,
    number,
    numbers,
    parse,
    real,
    rows,
    table,
    text,
    text_table,
    texts,
)

TIMEOUT_S = 15.0


async def look_at_ceph(
    ceph: Ceph, fsid: str, devices: Mapping[str, Mapping[str, str]], images: Sequence[str] = ()
) -> facts.Ceph | None:
    """`devices`: Ceph's host name → kernel's name of a disk → the name by which the storage VM knows it.

    `images`: those to look at, "pool/name".
    """
    source = Path(__file__).with_name("ceph_probe.py").read_bytes()
    return read_ceph(parse(await ceph.python(source, images, timeout_s=TIMEOUT_S), "Ceph"), fsid, devices)


def read_ceph(answer: Answer, fsid: str, devices: Mapping[str, Mapping[str, str]]) -> facts.Ceph | None:
    """None for a cluster that is only half made: it has no OSD, and nobody has given the orchestrator a host."""
    errors = text_table(answer, "errors")
    if "status" not in answer or "osd dump" not in answer:
        return unreachable(fsid, "; ".join(f"{what}: {why}" for what, why in errors.items()) or "no answer")
    osds = _osds(answer, devices)
    hosts = _hosts(answer)
    if not osds and not hosts:
        return None
    status, stats = table(answer, "status"), table(table(answer, "df", {"stats": {}}), "stats")
    health = table(status, "health")
    pgs = table(status, "pgmap")
    states = {text(state, "state_name"): number(state, "count") for state in _rows(pgs, "pgs_by_state")}
    return facts.Ceph(
        fsid=text(status, "fsid", fsid),
        health=text(health, "status"),
        health_checks=_checks(table(health, "checks", {})),
        mons=_mons(answer),
        mgrs=_mgrs(answer),
        hosts=hosts,
        osds=osds,
        pools=tuple(_pool(pool, table(answer, "namespaces", {})) for pool in rows(table(answer, "osd dump"), "pools")),
        images=_images(table(answer, "images", {})),
        users=_users(table(answer, "auth ls", {})),
        settings=_settings(answer),
        services={text(service, "service_name"): _running(service) for service in _rows(answer, "orch ls")},
        total_bytes=number(stats, "total_bytes", 0),
        used_bytes=number(stats, "total_used_raw_bytes", 0),
        available_bytes=number(stats, "total_avail_bytes", 0),
        stored_bytes=number(pgs, "data_bytes", 0),
        nearfull_ratio=real(table(answer, "osd dump"), "nearfull_ratio", 0.85),
        clean_pgs=sum(count for state, count in states.items() if _is_clean(state)),
        pgs=number(pgs, "num_pgs", 0),
        pg_states=states,
        noout_hosts=_noout_hosts(table(answer, "osd dump")),
        # What was not answered must not look like what is not there.
        unreachable="; ".join(f"{what}: {why}" for what, why in errors.items()),
        certificate_authority=text(answer, "ca", ""),
    )


def unreachable(fsid: str, why: str) -> facts.Ceph:
    return facts.Ceph(fsid=fsid, health="", unreachable=why)


def _is_clean(state: str) -> bool:
    """Also while it is scrubbed: "active+clean+scrubbing+deep"; not where a scrub has found a wrong copy."""
    words = set(state.split("+"))
    return {"active", "clean"} <= words and not words & {"stale", "inconsistent"}


def _noout_hosts(dump: Answer) -> tuple[str, ...]:
    """Those that `ceph osd set-group noout` names; the flag for the whole cluster is another."""
    flags = table(dump, "crush_node_flags", {})
    return tuple(sorted(name for name in flags if "noout" in texts(flags, name)))


def _rows(answer: Answer, key: str) -> list[Answer]:
    return rows(answer, key) if key in answer else []


def _checks(checks: Answer) -> tuple[str, ...]:
    return tuple(text(table(table(checks, name), "summary"), "message") for name in checks)


def _mons(answer: Answer) -> tuple[facts.Mon, ...]:
    dump = table(answer, "mon dump", {"mons": [], "quorum": []})
    quorum = numbers(dump, "quorum")
    found = []
    for mon in rows(dump, "mons"):
        addresses = {text(one, "type"): text(one, "addr") for one in rows(table(mon, "public_addrs"), "addrvec")}
        any_address = addresses.get("v2") or addresses.get("v1") or ""
        v1_port = addresses.get("v1", "").rpartition(":")[2]
        found.append(
            facts.Mon(
                name=text(mon, "name"),
                address=any_address.rpartition(":")[0].strip("[]"),
                v1_port=int(v1_port) if v1_port.isascii() and v1_port.isdigit() and len(v1_port) < 6 else None,
                in_quorum=number(mon, "rank") in quorum,
            )
        )
    return tuple(sorted(found, key=lambda mon: mon.name))


def _mgrs(answer: Answer) -> tuple[facts.Mgr, ...]:
    """cephadm calls a manager <host>.<random letters>."""
    dump = table(answer, "mgr dump", {})
    active = text(dump, "active_name", "")
    names = ([active] if active else []) + [text(standby, "name") for standby in _rows(dump, "standbys")]
    return tuple(facts.Mgr(name, name.rpartition(".")[0] or name, name == active) for name in sorted(names))


def _osds(answer: Answer, devices: Mapping[str, Mapping[str, str]]) -> tuple[facts.Osd, ...]:
    metadata = {number(row, "id"): row for row in _rows(answer, "osd metadata")}
    use = {number(row, "id"): row for row in _rows(table(answer, "osd df", {}), "nodes")}
    places = _places(answer)
    found = []
    for osd in rows(table(answer, "osd dump"), "osds"):
        about = metadata.get(number(osd, "osd"), {})
        host = text(about, "hostname", places.get(number(osd, "osd"), ""))
        state, used = texts(osd, "state") if "state" in osd else (), use.get(number(osd, "osd"), {})
        kernel_name = text(about, "devices", "").split(",")[0]
        found.append(
            facts.Osd(
                id=number(osd, "osd"),
                host=host,
                up=flag(osd, "up"),
                in_cluster=flag(osd, "in"),
                device=devices.get(host, {}).get(kernel_name, kernel_name),
                uuid=text(osd, "uuid", ""),
                destroyed="destroyed" in state,
                size_bytes=number(used, "kb", 0) * 1024,
                used_bytes=number(used, "kb_used", 0) * 1024,
            )
        )
    return tuple(sorted(found, key=lambda osd: osd.id))


def _places(answer: Answer) -> dict[int, str]:
    """OSD → the host that CRUSH has it under: of one that is destroyed nothing else tells it."""
    buckets = [node for node in _rows(table(answer, "osd tree", {}), "nodes") if text(node, "type", "") == "host"]
    return {osd: text(bucket, "name") for bucket in buckets for osd in numbers(bucket, "children")}


def _hosts(answer: Answer) -> tuple[facts.CephHost, ...]:
    return tuple(
        facts.CephHost(text(host, "hostname"), text(host, "addr"), texts(host, "labels"), text(host, "status", ""))
        for host in _rows(answer, "orch host ls")
    )


def _pool(pool: Answer, namespaces: Answer) -> facts.CephPool:
    name = text(pool, "pool_name")
    return facts.CephPool(
        name=name,
        size=number(pool, "size"),
        min_size=number(pool, "min_size"),
        applications=tuple(sorted(table(pool, "application_metadata", {}))),
        namespaces=texts(table(namespaces, name), "names") if name in namespaces else None,
        is_initialized=name in namespaces and flag(table(namespaces, name), "is_initialized"),
    )


def _images(images: Answer) -> dict[str, facts.CephImage]:
    found = {name: table(images, name) for name in images}
    return {
        name: facts.CephImage(number(image, "size_bytes"), texts(image, "features")) for name, image in found.items()
    }


def _users(users: Answer) -> dict[str, dict[str, str]]:
    return {name: text_table(users, name) for name in users}


def _settings(answer: Answer) -> dict[str, str]:
    """ "section/name"; what is set for a mask ("osd/class:ssd") keeps it in its section."""
    found = {}
    for row in _rows(answer, "config dump"):
        section, mask = text(row, "section"), text(row, "mask", "")
        found[f"{section}{'/' + mask if mask else ''}/{text(row, 'name')}"] = text(row, "value")
    return found


def _running(service: Answer) -> int:
    if "status" not in service:
        raise NotUnderstood("'status' of a service is missing")
    return number(table(service, "status"), "running", 0)
