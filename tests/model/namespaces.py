"""What making an RBD namespace does to the facts, stage by stage: a part of world.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shoal.facts import Facts
from shoal.plan.action import Action
from shoal.spec.model import Spec
from shoal.steps import settings


def make_namespace(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    """The pools are tried out, then the namespace is made."""
    assert world.ceph
    pools, names = list(world.ceph.pools), settings.texts(action, "pools")
    for index, pool in enumerate(pools):
        if pool.name in names:
            pools[index] = replace(pool, is_initialized=True, namespaces=pool.namespaces or ())
    yield replace(world, ceph=replace(world.ceph, pools=tuple(pools)))
    for index, pool in enumerate(pools):
        if pool.name == names[0]:
            pools[index] = replace(pool, namespaces=(*{*(pool.namespaces or ()), str(action.settings["namespace"])},))
    yield replace(world, ceph=replace(world.ceph, pools=tuple(pools)))
