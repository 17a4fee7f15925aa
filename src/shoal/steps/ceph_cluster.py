"""The Ceph cluster: bootstrapped by cephadm once, on the first host's storage VM, and never a second time.

The bootstrap runs there as a unit of its own. STATE_FILE says how far it came: while it exists and does not say
"complete", what is there is half a cluster without data, and is removed before the next try.
"""

from __future__ import annotations

import asyncio

from shoal.clients.ceph import CephRefused, CephUnreachable
from shoal.clients.ssh import Ssh, Unreachable
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import ceph_tuning, guest_unit, settings
from shoal.steps.tools import Tools

timeout_s = 900.0
BOOTSTRAP_TIMEOUT_S = 600.0
ANSWER_TIMEOUT_S = 180.0
UNIT = "shoal-ceph-bootstrap"
STATE_FILE = "/etc/shoal/ceph-bootstrap"
CONF_FILE = "/etc/shoal/ceph-bootstrap.conf"
COMPLETE = "complete"

# $1 image, $2 address, $3 state file, $4 initial settings
BOOTSTRAP = f"""set -e
mkdir -p /etc/ceph
for dir in /var/lib/ceph/????????-????-????-????-????????????; do
  [ ! -d "$dir" ] || cephadm rm-cluster --force --fsid "${{dir##*/}}"
done
rm -f /etc/ceph/ceph.conf /etc/ceph/ceph.client.admin.keyring /etc/ceph/ceph.pub
cephadm --image "$1" bootstrap --mon-ip "$2" --config "$4" --skip-mon-network --skip-dashboard \
  --skip-monitoring-stack --skip-pull --skip-firewalld --skip-prepare-host --skip-ping-check \
  --orphan-initial-daemons --allow-mismatched-release --allow-overwrite
sync -f /etc/ceph/ceph.conf
echo {COMPLETE} >"$3.tmp"; sync -f "$3.tmp"; mv -f "$3.tmp" "$3" """


async def apply(action: Action, tools: Tools) -> None:
    guest = await tools.storage_vm(settings.text(action, "host"))
    state = await _state(guest)
    if state == "" and not await _is_elsewhere(tools):
        await _prepare(action, guest)
        state = "started"
    if state not in ("", COMPLETE):
        words = (settings.text(action, "image"), settings.text(action, "address"), STATE_FILE, CONF_FILE)
        await guest_unit.run(
            guest,
            guest_unit.Script(UNIT, BOOTSTRAP, words),
            timeout_s=BOOTSTRAP_TIMEOUT_S,
            progress=lambda text: tools.progress(action, f"cephadm: {text}"),
        )
    tools.progress(action, "waiting for Ceph to answer")
    await wait_until(lambda: _look(tools), deadline_s=ANSWER_TIMEOUT_S, what="the Ceph cluster to answer")
    await ceph_tuning.apply(action, await tools.ceph())


async def verify(action: Action, tools: Tools) -> str:
    state = await _state(await tools.storage_vm(settings.text(action, "host")))
    return f"the bootstrap is {state}" if state not in ("", COMPLETE) else await _look(tools)


async def _state(guest: Ssh) -> str:
    return ((await guest.read_file(STATE_FILE)) or b"").decode().strip()


async def _prepare(action: Action, guest: Ssh) -> None:
    """Everything before the point from which on half a cluster may be there."""
    values = {"global/public_network": settings.text(action, "cidr"), **settings.table(action, "settings")}
    await guest.write_file(CONF_FILE, write_conf(values).encode(), mode=0o600)
    await guest.write_file(STATE_FILE, b"started\n")


async def _is_elsewhere(tools: Tools) -> bool:
    """Whether any storage VM that answers has a cluster already. Then this one has lost its disk, or it was adopted."""
    hosts = [host.name for host in tools.connections.spec.hosts]
    return any(await asyncio.gather(*(_has_cluster(tools, host) for host in hosts)))


async def _has_cluster(tools: Tools, host: str) -> bool:
    try:
        guest = await tools.storage_vm(host)
        listed = await guest.run(["find", "/var/lib/ceph", "-maxdepth", "2", "-name", "*.*"], timeout_s=20, check=False)
    except Unreachable:
        return False
    return bool(listed.stdout.strip())


async def _look(tools: Tools) -> str:
    try:
        await (await tools.ceph()).command(["mgr", "dump"])
        await (await tools.ceph()).command(["orch", "status"], timeout_s=30)
    except (CephRefused, CephUnreachable) as error:
        return error.brief
    return ""


def write_conf(values: dict[str, str]) -> str:
    """{"section/name": value} as a ceph.conf."""
    sections: dict[str, list[str]] = {}
    for key, value in values.items():
        section, _, name = key.partition("/")
        if "\n" in value or not name:
            raise ShoalError(f"the Ceph setting {key!r} cannot be written", where="ceph.settings")
        sections.setdefault(section, []).append(f"{name} = {value}")
    return "".join("\n".join((f"[{section}]", *lines, "")) for section, lines in sections.items())
