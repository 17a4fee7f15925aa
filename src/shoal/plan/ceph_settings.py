"""Ceph's settings: what the kernels and a quick failover need, and what the spec says. Others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph, same_value
from shoal.spec.detection import DETECTION
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER
from shoal.spec.problem import Problem
from shoal.spec.versions import Tuning, ceph_version, parse_kernel, tune

# A kernel that breaks a lock has its owner blocklisted for this long, also one that a keeper has fenced for a year.
# By default it is an hour: a host that was cut off for longer would then send again what it still holds back.
BASE = {"mon/mon_osd_blocklist_default_expire": "31536000"}
# (how often a daemon pings, how long it waits for an answer): of the latter at least two must fit.
_PINGS = (
    ("osd_heartbeat_interval", "osd_heartbeat_grace"),
    ("mon_client_ping_interval", "mon_client_ping_timeout"),
)
_SECTIONS = ("global", "mon", "mgr", "osd", "mds", "client")


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    settings = wanted(spec, facts)
    change, reason = judge_ceph(facts, _judge, settings)
    needs = frozenset({"ceph_cluster/cluster"})
    return (Action("ceph_settings", CEPH_CLUSTER, change, reason, needs=needs, settings={"settings": settings}),)


def wanted(spec: Spec, facts: Facts) -> dict[str, str]:
    """ "section/name" → value. What the spec says wins."""
    settings = {**BASE, **DETECTION, **tuning(spec, facts).settings}
    if spec.ceph.osd_memory is not None:
        settings["osd/osd_memory_target"] = str(spec.ceph.osd_memory)
        settings["osd/osd_memory_target_autotune"] = "false"
    for name, value in spec.ceph.settings.items():
        section = name.partition("/")[0].partition(".")[0]
        settings[name if section in _SECTIONS and "/" in name else f"global/{name}"] = value
    return settings


def find_contradictions(spec: Spec, facts: Facts) -> Iterator[Problem]:
    """One half of a pair in the spec, the other one ours: daemons would take each other for dead all the time."""
    settings = wanted(spec, facts)
    told: set[tuple[str, str]] = set()
    for often, patience in _PINGS:
        for section in ("global", "osd", "mon"):
            (first, every_s), (second, limit_s) = (_merged(settings, section, name) for name in (often, patience))
            if (first, second) in told or not 0 < limit_s < every_s * 2:  # 0 is for ever
                continue
            told.add((first, second))
            what = f"{second} is {limit_s:g} and {first} {every_s:g}: one lost ping would count as a death"
            remedy = f"make {often} at most half of {patience}, or leave both to Shoal"
            yield Problem(what, remedy, "ceph.settings")


def _merged(settings: dict[str, str], section: str, name: str) -> tuple[str, float]:
    """As a daemon of that section sees it; not a number (which Ceph itself refuses) compares with nothing."""
    key = f"{section}/{name}" if f"{section}/{name}" in settings else f"global/{name}"
    try:
        return key, float(settings[key])
    except ValueError:
        return key, nan


def tuning(spec: Spec, facts: Facts) -> Tuning:
    """For the oldest kernel of the hosts that were seen."""
    kernels = [parse_kernel(host.dom0.kernel) for host in facts.hosts if host.dom0]
    return tune(min(filter(None, kernels), default=()), ceph_version(spec.ceph.image, spec.ceph.version))


def _judge(ceph: Ceph, settings: dict[str, str]) -> Verdict:
    wrong = [
        f"{name} is {ceph.settings.get(name, 'not set')}, wanted {value}"
        for name, value in settings.items()
        if name not in ceph.settings or not same_value(ceph.settings[name], value)
    ]
    if wrong:
        return Change.UPDATE, "; ".join(wrong)
    return Change.NONE, f"{len(settings)} as wanted"
