"""The pool's default SR, where the spec names one."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import sr_named
from shoal.spec.model import Spec


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    wanted = next((sr for sr in spec.srs if sr.default), None)
    if wanted is None:
        return ()
    sr = sr_named(facts, wanted.name)
    change, reason = Change.NONE, f"it is {wanted.name!r}"
    if sr is None or facts.pool.default_sr != sr.uuid:
        change, reason = Change.UPDATE, f"it is not {wanted.name!r}"
    needs = frozenset({f"shared_sr/{wanted.name}"})
    return (Action("default_sr", "pool", change, reason, needs=needs, settings={"sr": wanted.name}),)
