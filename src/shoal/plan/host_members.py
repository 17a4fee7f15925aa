"""A host of the pool joins the storage: a change of the spec that `apply` would carry out, too. Pure."""

from __future__ import annotations

from pathlib import Path

from shoal.facts import Facts
from shoal.plan import spec_edit
from shoal.plan.action import Action, Plan
from shoal.plan.disk_members import with_apply
from shoal.plan.redundancy import why_unseen
from shoal.spec.edit import Edit
from shoal.spec.model import Spec

SHARED = (
    "ceph_mons",
    "ceph_mgrs",
    "volume_clients",
    "volume_services",
    "rbd_map",
    "shared_sr",
)  # what all hosts have together, and so changes


def plan_add(edited: Spec, facts: Facts, file: Path, edit: Edit, *, changes_spec: bool) -> Plan:
    """The spec first: then `apply` can end what was cut off here."""
    first = [spec_edit.plan(file, edit, changes=changes_spec)]

    def is_own(action: Action) -> bool:
        return action.host == edit.host or action.kind in SHARED

    return with_apply(edited, facts, first, why_unseen(edited, facts), is_own)
