"""The image under an SR of type `lvm`, made and grown by Shoal's own step and client, in a small real Ceph."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import Completed
from shoal.observe.ceph import look_at_ceph
from shoal.plan.action import Action, Change
from shoal.steps import ceph_image
from tests.ceph.cluster import Cluster

pytestmark = pytest.mark.ceph
MIB = 1 << 20
IMAGE = "rbd/lvm-step"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# As much of Docker as the client asks of it: one container, which is the little Ceph itself.
DOCKER = """#!/bin/sh
case "$1" in ps) echo it ;; exec) shift 3; exec "$@" ;; esac
"""


class Inside:
    """Runs what the client would run on a storage VM, in the little Ceph. `/scratch/bin` comes first in its path."""

    name = "little Ceph"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        docker = cluster.files / "bin" / "docker"
        docker.parent.mkdir(exist_ok=True)
        docker.write_text(DOCKER)
        docker.chmod(0o755)

    async def run(self, argv: Sequence[str], *, timeout_s: float, input: bytes | None = None, **_: Any) -> Completed:
        command = [*self._cluster._inside(), "env", f"PATH=/scratch/bin:{PATH}", *argv]
        done = await asyncio.to_thread(
            subprocess.run, command, input=input or b"", capture_output=True, timeout=timeout_s, check=False
        )
        return Completed(done.stdout.decode(), done.stderr.decode(), done.returncode)


@pytest.fixture
def ceph(cluster: Cluster) -> Iterator[Ceph]:
    copies = "cp /scratch/ceph.conf /etc/ceph/ceph.conf; cp /scratch/admin.keyring /etc/ceph/ceph.client.admin.keyring"
    cluster.run("sh", "-c", f"mkdir -p /etc/ceph; {copies}")
    yield Ceph(Inside(cluster))  # type: ignore[arg-type]
    cluster.rbd("rm", "--no-progress", IMAGE)


def tools(ceph: Ceph) -> Any:
    async def give() -> Ceph:
        return ceph

    return SimpleNamespace(ceph=give, progress=lambda action, text: None)


async def test_an_image_is_made_once_and_grows(ceph: Ceph) -> None:
    settings = {"image": IMAGE, "size_bytes": 64 * MIB, "features": ("layering",)}
    action = Action("ceph_image", "shoal-lvm", Change.CREATE, "there is none", settings=settings)
    assert await ceph_image.verify(action, tools(ceph)) == "there is no such image"
    for _ in range(2):
        await ceph_image.apply(action, tools(ceph))
        assert await ceph_image.verify(action, tools(ceph)) == ""
    larger = replace(action, settings={**settings, "size_bytes": 128 * MIB})
    assert await ceph_image.verify(larger, tools(ceph)) == "it has 64 MiB"
    await ceph_image.apply(larger, tools(ceph))
    assert await ceph_image.verify(larger, tools(ceph)) == ""
    await ceph_image.apply(action, tools(ceph))  # an older spec: nothing is made smaller
    assert await ceph_image.verify(larger, tools(ceph)) == ""
    seen = await look_at_ceph(ceph, "", {}, [IMAGE, "rbd/lvm-none"])
    assert seen is not None
    assert {name: (image.size_bytes, image.features) for name, image in seen.images.items()} == {
        IMAGE: (128 * MIB, ("layering",))
    }


async def test_an_image_with_other_features_is_not_taken_for_shoals(ceph: Ceph) -> None:
    await ceph.rbd(["create", IMAGE, "--size", "64M", "--image-feature", "exclusive-lock"])
    settings = {"image": IMAGE, "size_bytes": 64 * MIB, "features": ("layering",)}
    action = Action("ceph_image", "shoal-lvm", Change.CREATE, "there is none", settings=settings)
    assert await ceph_image.verify(action, tools(ceph)) == "its features are exclusive-lock"
    with pytest.raises(CephRefused, match="rbd create") as caught:
        await ceph.rbd(["create", IMAGE, "--size", "64M"])
    assert caught.value.code == ceph_image.EEXIST
