"""From a spec with namespaces and a data pool to a disk: Shoal's own plans and steps on a small real Ceph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shoal.clients.ceph import Ceph
from shoal.facts import Facts
from shoal.observe.ceph import look_at_ceph
from shoal.plan import ceph_namespace, ceph_pool, ceph_user
from shoal.plan.action import Action, Change
from shoal.spec.model import Spec
from shoal.spec.names import KERNEL_USER
from shoal.steps import ceph_namespace as namespace_step
from shoal.steps import ceph_pool as pool_step
from shoal.steps import ceph_user as user_step
from tests.ceph.cluster import Cluster
from tests.ceph.service import CAPS
from tests.ceph.test_image_step import Inside, tools
from tests.model.world import make_facts, make_spec

pytestmark = [pytest.mark.ceph, pytest.mark.long]
SRS = [
    {"name": "gold", "type": "rbd", "pool": "steps", "namespace": "gold"},
    {"name": "slow", "type": "rbd", "pool": "steps", "namespace": "slow", "data_pool": "steps-bulk"},
]
KINDS = ((ceph_pool, pool_step), (ceph_namespace, namespace_step), (ceph_user, user_step))
USER = ("--id", KERNEL_USER.removeprefix("client."), "-k", "/scratch/steps.keyring")


@pytest.fixture
def ceph(cluster: Cluster) -> Iterator[Ceph]:
    copies = "cp /scratch/ceph.conf /etc/ceph/ceph.conf; cp /scratch/admin.keyring /etc/ceph/ceph.client.admin.keyring"
    cluster.run("sh", "-c", f"mkdir -p /etc/ceph; {copies}")
    yield Ceph(Inside(cluster))  # type: ignore[arg-type]
    for pool in ("steps", "steps-bulk"):
        cluster.ceph("osd", "pool", "rm", pool, pool, "--yes-i-really-really-mean-it")
    cluster.ceph("auth", "rm", KERNEL_USER)
    cluster.ceph("auth", "caps", "client.shoal-volumes", *CAPS)  # other tests' user, by chance


@pytest.fixture
def spec() -> Spec:
    made = make_spec(srs=SRS)
    return made.model_copy(update={"ceph": made.ceph.model_copy(update={"replicas": 1, "min_replicas": 1})})


async def look(ceph: Ceph) -> Facts:
    """No orchestrator answers here, and none is needed."""
    seen = await look_at_ceph(ceph, "", {})
    assert seen is not None
    return replace(make_facts(), ceph=replace(seen, unreachable=""))


async def plans(spec: Spec, ceph: Ceph) -> list[Action]:
    facts = await look(ceph)
    return [action for kind, _ in KINDS for action in kind.plan(spec, facts)]


async def test_pools_namespaces_and_users_are_made_once(spec: Spec, ceph: Ceph, cluster: Cluster) -> None:
    steps = {kind.__name__.rpartition(".")[2]: step for kind, step in KINDS}
    for action in await plans(spec, ceph):
        assert action.change is not Change.NONE
        for _ in range(2):
            await steps[action.kind].apply(action, tools(ceph))
            assert await steps[action.kind].verify(action, tools(ceph)) == ""
    assert {action.id: action.change for action in await plans(spec, ceph) if action.change is not Change.NONE} == {}

    cluster.ceph("auth", "get", KERNEL_USER, "-o", "/scratch/steps.keyring")
    place = ("--pool", "steps", "--namespace", "slow")
    rbd = ("rbd", "-c", "/scratch/ceph.conf", *USER)
    cluster.run(*rbd, "create", *place, "--data-pool", "steps-bulk", "--size", "16M", "vdi-1")
    made = json.loads(cluster.run(*rbd, "info", *place, "--format", "json", "vdi-1"))
    assert made["data_pool"] == "steps-bulk"
    with pytest.raises(RuntimeError, match="Operation not permitted"):
        cluster.run(*rbd, "create", "--pool", "steps", "--size", "16M", "vdi-2")


async def test_a_pool_keeps_more_copies_or_fewer(ceph: Ceph) -> None:
    """Ceph refuses a min_size above size, and forgets it when size changes."""
    for replicas, min_replicas in ((1, 1), (3, 2), (2, 1), (4, 3), (3, 1), (3, 3)):
        settings = {"replicas": replicas, "min_replicas": min_replicas, "allowed_ciphers": "", "min_compat_client": ""}
        action = Action("ceph_pool", "steps", Change.UPDATE, "", settings=settings)
        await pool_step.apply(action, tools(ceph))
        assert await pool_step.verify(action, tools(ceph)) == ""
