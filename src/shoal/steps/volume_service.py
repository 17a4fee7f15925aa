"""The files of the volume service on a storage VM: code, configuration, certificate, Ceph key. It is started elsewhere.

The container service lives on the same files, and is started here. What need not listen there is closed here, too.

The digest beside the code is written last: it says that all of this is there.
"""

from __future__ import annotations

import json

from shoal.kit.shipped import VOLUMES_CODE, ShippedFile, pack, volume_service_files
from shoal.plan.action import Action
from shoal.spec.names import CLIENTS_FILE, VOLUME_SERVICE_PORT, VOLUMES_USER
from shoal.steps import authority, certificates, container_service, name_service, settings
from shoal.steps.ceph_user import read_key
from shoal.steps.tools import Tools

timeout_s = 180.0
COMMAND_TIMEOUT_S = 60.0
FOLDER = "/etc/shoal/volumes"
DIGEST_FILE = f"{VOLUMES_CODE}.digest"
RUNNING_FILE = f"{VOLUMES_CODE}.running"  # the digest again, once the service has been started with these files
STAGE = "/opt/shoal/.stage"
START = f"{FOLDER}/run"
# A cephadm container has an entry point, and no words after it.
START_TEXT = f"#!/bin/sh\nexec python3 {VOLUMES_CODE}/__main__.py --config {FOLDER}/config.json\n"
# $1 stage, $2 code, $3 digest's file, $4 that of what runs; the archive on standard input. The code's folder stays,
# with its inode: a running container has it mounted.
INSTALL = """set -e; rm -rf "$1" "$3" "$4"; mkdir -p "$1" "$2"; tar -x -C "$1"; find "$2" -mindepth 1 -delete
cp -a "$1$2/." "$2/"; sync -f "$2"; rm -rf "$1" """


async def apply(action: Action, tools: Tools) -> None:
    guest, files = await tools.storage_vm(action.target), await _configuration(action, tools)
    argv = ["sh", "-c", INSTALL, "sh", STAGE, VOLUMES_CODE, DIGEST_FILE, RUNNING_FILE]
    await guest.run(argv, timeout_s=COMMAND_TIMEOUT_S, input=pack(volume_service_files()))
    await guest.write_files(files)
    await container_service.start(guest)
    await name_service.close(guest)
    await guest.write_file(DIGEST_FILE, f"{settings.text(action, 'digest')}\n".encode())


async def verify(action: Action, tools: Tools) -> str:
    guest = await tools.storage_vm(action.target)
    written, certificate = await guest.read_files([DIGEST_FILE, f"{FOLDER}/server.pem"])
    if written is None or written.decode().strip() != settings.text(action, "digest"):
        return "the installed files are not those of this version"
    ca = await authority.find_for(tools)
    if ca is None or certificate is None or not certificates.is_by(ca.certificate, certificate.decode()):
        return "its certificate is not by the cluster's authority"
    return await container_service.look(guest)


def write_config(address: str, port: int, user: str = VOLUMES_USER, *, host: str = "") -> bytes:
    """config.json. File names are relative to its folder. `host`: the one client of the container service."""
    config = {
        "listen": [address, port],
        "ceph_conf": f"{FOLDER}/ceph.conf",
        "user": user.removeprefix("client."),
        "keyring": f"{FOLDER}/keyring",
        "certificate": "server.pem",
        "key": "server.key",
        "ca": "ca.pem",
        "clients": CLIENTS_FILE,
        **({"host": host} if host else {}),
    }
    return (json.dumps(config, indent=1) + "\n").encode()


async def _configuration(action: Action, tools: Tools) -> list[ShippedFile]:
    ceph, address, ca = await tools.ceph(), settings.text(action, "address"), await authority.find_or_make(tools)
    key, client = await read_key(ceph, VOLUMES_USER), settings.text(action, "client")
    server = certificates.make_server(ca, f"volume service of {action.target}", address)
    conf = await ceph.text(["config", "generate-minimal-conf"])
    keyring = f"[{VOLUMES_USER}]\nkey = {key.reveal()}\n"
    return [
        ShippedFile(f"{FOLDER}/keyring", keyring.encode(), 0o600),
        ShippedFile(f"{FOLDER}/server.key", server.key.reveal().encode(), 0o600),
        ShippedFile(f"{FOLDER}/server.pem", server.certificate.encode()),
        ShippedFile(f"{FOLDER}/ca.pem", ca.certificate.encode()),
        ShippedFile(f"{FOLDER}/ceph.conf", conf.encode()),
        ShippedFile(f"{FOLDER}/config.json", write_config(address, VOLUME_SERVICE_PORT, host=client)),
        ShippedFile(START, START_TEXT.encode(), 0o755),
    ]
