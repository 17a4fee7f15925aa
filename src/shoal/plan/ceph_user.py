"""Ceph users with no more rights than their work needs: krbd in dom0, and the volume service."""

from __future__ import annotations

import re

from shoal.facts import Ceph, Facts, Pbd, Sr
from shoal.plan import ceph_settings
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec
from shoal.spec.names import KERNEL_USER, VOLUMES_USER

_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_IMAGE = re.compile(rf"/dev/rbd/(?P<pool>{_POOL.pattern})/lvm-[^/]+")
# For a host that shuts down without being asked about: its OSDs stay in the cluster. No other flag, and no other order.
NOOUT = ", ".join(f'allow command "osd {verb}-group" with flags=noout' for verb in ("set", "unset"))


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    rights = rights_for(spec, facts.srs)
    key_types = {KERNEL_USER: ceph_settings.tuning(spec, facts).kernel_key_type, VOLUMES_USER: ""}
    actions = []
    for user, key_type in key_types.items():
        change, reason = judge_ceph(facts, _judge, user, rights[user])
        settings = {"caps": rights[user], "key_type": key_type}
        needs = frozenset({"ceph_cluster/cluster"})
        actions.append(Action("ceph_user", user, change, reason, needs=needs, settings=settings))
    return tuple(actions)


def rights_for(spec: Spec, srs: tuple[Sr, ...] = ()) -> dict[str, dict[str, str]]:
    """Of both users of a cluster whose OSDs are in the pool's storage VMs."""
    caps = caps_for(spec, srs)
    return {KERNEL_USER: caps, VOLUMES_USER: {**caps, "mon": f"{caps['mon']}, {NOOUT}"}}


def caps_for(spec: Spec, srs: tuple[Sr, ...] = ()) -> dict[str, str]:
    """By name: the pools and namespaces of the SRs, and no other. Data objects lie in the image's namespace, too.

    An SR that is no longer in the spec keeps its rights for as long as the pool has it: VMs may be writing to it.
    """
    places = [(pool, sr.namespace or "") for sr in spec.srs for pool in (sr.pool, sr.data_pool) if pool]
    places += [place for sr in srs for pbd in sr.pbds for place in _used_by(pbd)]
    grants = (f"profile rbd pool={pool}{f' namespace={space}' if space else ''}" for pool, space in places)
    osd = ", ".join(dict.fromkeys(grants))
    return {"mon": "profile rbd", "osd": osd, "mgr": osd}


def _used_by(pbd: Pbd) -> list[tuple[str, str]]:
    """The pools, each with its namespace, that a PBD reaches with Shoal's user; none for an SR of somebody else."""
    config = pbd.device_config
    if f"client.{config.get('user')}" == KERNEL_USER:
        pools = (config.get("pool", ""), config.get("data_pool", ""))
        return [(pool, config.get("namespace", "")) for pool in pools if _POOL.fullmatch(pool)]
    image = _IMAGE.fullmatch(config.get("device", ""))
    return [(image.group("pool"), "")] if image else []


def _judge(ceph: Ceph, user: str, caps: dict[str, str]) -> Verdict:
    if user not in ceph.users:
        return Change.CREATE, f"there is no user {user}"
    if ceph.users[user] != caps:
        return Change.UPDATE, "its rights are not those that it needs"
    return Change.NONE, "rights on " + ", ".join(sorted(caps))
