"""A dom0 may ask the volume services: a client certificate, the authority's, and which service is its own host's."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.clients.ssh import Ssh
from shoal.kit.certificate_name import common_name
from shoal.kit.shipped import ShippedFile
from shoal.plan.action import Action
from shoal.steps import authority, certificates, settings
from shoal.steps.tools import Tools

timeout_s = 180.0
FOLDER = "/etc/shoal/volumes"
KEY, CERTIFICATE, CA = f"{FOLDER}/client.key", f"{FOLDER}/client.pem", f"{FOLDER}/ca.pem"
HOST_FILE = "/etc/shoal/host.json"


@dataclass(frozen=True, slots=True)
class Look:
    is_certified: bool
    host_file: bytes | None


async def apply(action: Action, tools: Tools) -> None:
    dom0, ca = await tools.dom0(action.target), await authority.find_or_make(tools)
    files, name = [ShippedFile(HOST_FILE, _host_file(action))], settings.text(action, "client")
    if not (await _look(dom0, ca.certificate, name)).is_certified:
        tools.progress(action, "writing the certificate")
        client = certificates.make_client(ca, name)
        files += [
            ShippedFile(KEY, client.key.reveal().encode(), 0o600),
            ShippedFile(CERTIFICATE, client.certificate.encode()),
            ShippedFile(CA, ca.certificate.encode()),  # last: so key and certificate are of one making
        ]
    await dom0.write_files(files)


async def verify(action: Action, tools: Tools) -> str:
    dom0, ca = await tools.dom0(action.target), await authority.find_for(tools)
    if ca is None:
        return "there is no certificate authority"
    seen = await _look(dom0, ca.certificate, settings.text(action, "client"))
    if not seen.is_certified:
        return "dom0 has no client certificate of its own by the cluster's authority"
    return "" if seen.host_file == _host_file(action) else f"{HOST_FILE} is not as wanted"


async def _look(dom0: Ssh, ca: str, name: str) -> Look:
    found_ca, certificate, host_file = await dom0.read_files([CA, CERTIFICATE, HOST_FILE])
    is_certified = (
        found_ca == ca.encode()
        and certificate is not None
        and certificates.is_by(ca, certificate.decode(errors="replace"))
        and common_name(certificate.decode(errors="replace")) == name
    )
    return Look(is_certified, host_file)


def _host_file(action: Action) -> bytes:
    return (json.dumps({"volume_service": settings.text(action, "service")}) + "\n").encode()
