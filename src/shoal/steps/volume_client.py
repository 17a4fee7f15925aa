"""A dom0 may ask the volume services: a client certificate, the authority's, and which service is its own host's."""

from __future__ import annotations

import json

from shoal.clients.ssh import Ssh
from shoal.plan.action import Action
from shoal.steps import authority, certificates, settings
from shoal.steps.tools import Tools

timeout_s = 180.0
FOLDER = "/etc/shoal/volumes"
HOST_FILE = "/etc/shoal/host.json"


async def apply(action: Action, tools: Tools) -> None:
    dom0, ca = await tools.dom0(action.target), await authority.find_or_make(tools)
    if not await _is_certified(dom0, ca.certificate):
        tools.progress(action, "writing the certificate")
        client = certificates.make_client(ca, action.target)
        await dom0.write_file(f"{FOLDER}/client.key", client.key.reveal().encode(), mode=0o600)
        await dom0.write_file(f"{FOLDER}/client.pem", client.certificate.encode())
        await dom0.write_file(f"{FOLDER}/ca.pem", ca.certificate.encode())
    if await dom0.read_file(HOST_FILE) != _host_file(action):
        await dom0.write_file(HOST_FILE, _host_file(action))


async def verify(action: Action, tools: Tools) -> str:
    dom0, ca = await tools.dom0(action.target), await authority.find_for(tools)
    if ca is None:
        return "there is no certificate authority"
    if not await _is_certified(dom0, ca.certificate):
        return "dom0 has no client certificate by the cluster's authority"
    return "" if await dom0.read_file(HOST_FILE) == _host_file(action) else f"{HOST_FILE} is not as wanted"


async def _is_certified(dom0: Ssh, ca: str) -> bool:
    """The authority's certificate is written last: so key and certificate are of one making."""
    if await dom0.read_file(f"{FOLDER}/ca.pem") != ca.encode():
        return False
    certificate = await dom0.read_file(f"{FOLDER}/client.pem")
    return certificate is not None and certificates.is_by(ca, certificate.decode(errors="replace"))


def _host_file(action: Action) -> bytes:
    return (json.dumps({"volume_service": settings.text(action, "service")}) + "\n").encode()
