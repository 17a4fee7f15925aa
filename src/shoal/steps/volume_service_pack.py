"""A folder with all that somebody needs to run the volume service on a Ceph cluster that Shoal may not touch.

Made from the spec alone, nothing is contacted. The certificate authority is made if there is none, and never made anew.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from shoal.kit.errors import ShoalError
from shoal.kit.files import write_atomically
from shoal.kit.shipped import volume_service_files
from shoal.plan.ceph_user import caps_for
from shoal.spec.model import ExistingCeph, Spec
from shoal.spec.names import CLIENTS_FILE, client_name
from shoal.steps import authority_files, certificates
from shoal.steps.certificates import Pair
from shoal.steps.volume_clients import write_clients
from shoal.steps.volume_service import FOLDER, START, START_TEXT, write_config
from shoal.steps.volume_services import compose_for

LABEL = "shoal-volumes"


def volumes_user(existing: ExistingCeph) -> str:
    """Named after the hosts' own user, so that two pools of hosts do not take each other's rights away."""
    return f"client.{existing.user}-volumes"


def write(spec: Spec, to: Path) -> Iterator[str]:
    """Write it, and tell what was written, a line each."""
    existing = spec.ceph.existing
    assert existing is not None, "the verb has looked"
    authority = authority_files.find_or_make(existing.authority)
    yield f"{existing.authority}: the certificate authority; keep its ca.key safe"
    try:
        for service in existing.volume_services:
            folder = to / service.replace(":", "-")
            _write_host(folder, service, authority)
            write_atomically(folder / f"{FOLDER}/config.json".lstrip("/"), _config(service, volumes_user(existing)))
            clients = write_clients(tuple(client_name(host.name) for host in spec.hosts))
            write_atomically(folder / CLIENTS_FILE.lstrip("/"), clients)
            yield f"{folder}: files for the machine that answers at {service}"
        write_atomically(to / "service.yaml", _service(spec))
        yield f"{to / 'service.yaml'}: for ceph orch apply -i"
        write_atomically(to / "commands.sh", write_commands(spec).encode())
        yield f"{to / 'commands.sh'}: what to run on the cluster, to be read before"
    except OSError as error:
        raise ShoalError(f"cannot write to {to}: {error.strerror}") from error


def write_commands(spec: Spec) -> str:
    """Pools, namespaces and users, with no more rights than the SRs need."""
    existing = spec.ceph.existing
    assert existing is not None
    lines = ["#!/bin/sh -e", "# Each may be run again. Pools that are there already stay as they are."]
    for pool in dict.fromkeys(pool for sr in spec.srs for pool in (sr.pool, sr.data_pool) if pool):
        # An erasure coded one that is there would be refused by a plain "create".
        there = f"ceph osd pool ls | {_line('grep', '-qxF', '--', pool)}"
        lines += [f"{there} || {_line('ceph', 'osd', 'pool', 'create', pool)}"]
        lines += [_line("rbd", "pool", "init", pool)]
    for sr in spec.srs:
        if sr.namespace:
            create = _line("rbd", "namespace", "create", "--pool", sr.pool, "--namespace", sr.namespace)
            lines.append(f"{create} || [ $? -eq 17 ]  # it is there already")
    words = [word for pair in caps_for(spec).items() for word in pair]
    volumes = volumes_user(existing)
    for user in (f"client.{existing.user}", volumes):
        # Without rights: with others than one has that is there, it would be refused.
        lines.append(f"{_line('ceph', 'auth', 'get-or-create', user)} >/dev/null")
        lines.append(_line("ceph", "auth", "caps", user, *words))
    lines += [
        f"# On each machine that runs the service, with its files in place ({FOLDER}, /opt/shoal/volumes):",
        f"#   ceph config generate-minimal-conf >{FOLDER}/ceph.conf",
        f"#   (umask 077; ceph auth get {volumes} >{FOLDER}/keyring)",
        f"#   ceph orch host label add HOST {LABEL}",
        "# Then, once: ceph orch apply -i service.yaml",
        f"# The key for ceph.existing.key in the spec: ceph auth get-key client.{existing.user}",
    ]
    return "\n".join(lines) + "\n"


def _line(*words: str) -> str:
    return shlex.join(words)


def _service(spec: Spec) -> bytes:
    return (json.dumps(compose_for({"label": LABEL}, spec.ceph.image), indent=1) + "\n").encode()


def _config(service: str, user: str) -> bytes:
    address, _, port = service.partition(":")
    return write_config(address, int(port), user)


def _write_host(folder: Path, service: str, authority: Pair) -> None:
    """As the files shall lie below / there. A certificate that is there and still good stays."""
    address, _, _ = service.partition(":")
    for file in volume_service_files():
        write_atomically(folder / file.path.lstrip("/"), file.data, mode=file.mode)
    own = folder / FOLDER.lstrip("/")
    pem = own / "server.pem"
    if not pem.is_file() or not certificates.is_by(authority.certificate, pem.read_text()):
        server = certificates.make_server(authority, f"volume service at {service}", address)
        write_atomically(own / "server.key", server.key.reveal().encode(), mode=0o600)
        write_atomically(pem, server.certificate.encode())
    write_atomically(own / "ca.pem", authority.certificate.encode())
    write_atomically(folder / START.lstrip("/"), START_TEXT.encode(), mode=0o755)
