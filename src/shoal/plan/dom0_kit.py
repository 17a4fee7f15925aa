"""Shoal's files in a host's dom0: the SM driver, its entry on the toolstack's whitelist, the keeper, the rbd module."""

from __future__ import annotations

from shoal.facts import Facts, Host
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict
from shoal.spec.model import Spec

SR_TYPE = "rbd"


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    settings = {"digest": facts.wanted_digests.get("kit", "")}
    for host in spec.hosts:
        change, reason = _judge(facts.host(host.name), facts.wanted_digests.get("kit", ""))
        # dom0 has few CPUs: what the storage VM waits for comes first, and the kit is needed only after Ceph is up.
        needs = frozenset({f"passthrough_sr/{host.name}"})
        actions.append(Action("dom0_kit", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(host: Host | None, wanted: str) -> Verdict:
    if host is None or host.dom0 is None:
        return Change.UPDATE, "cannot be seen: dom0 does not answer"
    kit = host.dom0.kit
    if not kit.digest:
        return Change.CREATE, "not installed"
    if kit.digest != wanted:
        return Change.UPDATE, "the installed files are not those of this version"
    if SR_TYPE not in host.dom0.sm_plugins:
        return Change.UPDATE, f"the toolstack's sm-plugins list lacks {SR_TYPE}"
    if not kit.keeper_runs:
        return Change.UPDATE, "the keeper does not run"
    return Change.NONE, "installed and whitelisted, the keeper runs"
