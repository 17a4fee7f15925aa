"""The certificate authority of the volume services. It lives in Ceph, so that losing the workstation loses nothing.

For a cluster that is somebody else's, it lies in a folder that the spec names.
"""

from __future__ import annotations

from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.secret import Secret
from shoal.steps import authority_files, certificates
from shoal.steps.certificates import Pair
from shoal.steps.tools import Tools

CERTIFICATE = "shoal/ca.pem"
KEY = "shoal/ca.key"
ENOENT = 2


async def find_or_make(tools: Tools) -> Pair:
    """The one authority. Its certificate is written last: without it, a key alone is half an authority."""
    async with tools.locks["authority"]:
        found = await _find_once(tools)
        if found is None:
            ceph, found = await tools.ceph(), certificates.make_authority()
            await ceph.text(["config-key", "set", KEY, "-i", "-"], input=found.key.reveal().encode())
            await ceph.text(["config-key", "set", CERTIFICATE, "-i", "-"], input=found.certificate.encode())
        return found


async def find_for(tools: Tools) -> Pair | None:
    async with tools.locks["authority"]:
        return await _find_once(tools)


async def _find_once(tools: Tools) -> Pair | None:
    """Asked for by each host's steps, and the same for a whole run once it is there."""
    found = tools.kept.get("authority")
    if not isinstance(found, Pair):
        existing = tools.connections.spec.ceph.existing
        found = authority_files.read(existing.authority) if existing else await find(await tools.ceph())
        tools.kept["authority"] = found
    return found


async def find(ceph: Ceph) -> Pair | None:
    """None, too, for one that is soon over: nothing that it signs would last."""
    certificate, key = await _get(ceph, CERTIFICATE), await _get(ceph, KEY)
    if certificate is None or key is None:
        return None
    pair = Pair(certificate.reveal(), key)
    return pair if certificates.belong_together(pair) and certificates.lasts(pair.certificate) else None


async def _get(ceph: Ceph, name: str) -> Secret | None:
    try:
        return Secret(await ceph.text(["config-key", "get", name]))
    except CephRefused as error:
        if error.code == ENOENT:
            return None
        raise
