"""The client's commands in a monitor's container: none of them acts when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.clients.ceph import Ceph, CephRefused, CephTimedOut
from shoal.kit.errors import ShoalError
from tests.ceph.cluster import Cluster
from tests.ceph.test_image_step import Inside

pytestmark = pytest.mark.ceph
# In the place of a program: it does something late.
LATE = """#!/bin/sh
sleep 1.5; echo late >>/scratch/late
"""


@pytest.fixture
def ceph(cluster: Cluster) -> Iterator[Ceph]:
    copies = "cp /scratch/ceph.conf /etc/ceph/ceph.conf; cp /scratch/admin.keyring /etc/ceph/ceph.client.admin.keyring"
    cluster.run("sh", "-c", f"mkdir -p /etc/ceph; {copies}")
    yield Ceph(Inside(cluster))  # type: ignore[arg-type]
    for name in ("ceph", "rbd", "python3"):
        (cluster.files / "bin" / name).unlink(missing_ok=True)


def put_late(cluster: Cluster, *names: str) -> Path:
    for name in names:
        program = cluster.files / "bin" / name
        program.write_text(LATE)
        program.chmod(0o755)
    return cluster.files / "late"


async def test_a_command_that_takes_too_long_is_ended_and_never_acts(ceph: Ceph, cluster: Cluster) -> None:
    late = put_late(cluster, "ceph", "rbd", "python3")
    with pytest.raises(CephTimedOut, match=r"little Ceph: osd down 0: no answer within 0\.5 s"):
        await ceph.text(["osd", "down", "0"], timeout_s=0.5)
    with pytest.raises(CephTimedOut):
        await ceph.rbd(["rm", "it"], timeout_s=0.5)
    with pytest.raises(CephTimedOut):
        await ceph.python(b"", timeout_s=0.5)
    await asyncio.sleep(1.3)
    assert not late.exists()


async def test_one_that_docker_starts_too_late_does_nothing(ceph: Ceph, cluster: Cluster) -> None:
    docker = cluster.files / "bin" / "docker"
    docker.write_text(docker.read_text().replace("exec) ", "exec) sleep 1.1; "))
    with pytest.raises(CephTimedOut):
        await ceph.text(["osd", "pool", "create", "too-late"], timeout_s=1)
    assert "too-late" not in cluster.ceph("osd", "pool", "ls")


async def test_exit_codes_input_and_odd_words_come_through(ceph: Ceph) -> None:
    with pytest.raises(CephRefused) as caught:
        await ceph.text(["config-key", "get", "there is 'none' $HOME"])
    assert (caught.value.code, caught.value.argv[-1]) == (2, "there is 'none' $HOME")
    await ceph.text(["config-key", "set", "a b", "-i", "-"], input=b"one\ntwo")
    assert (await ceph.text(["config-key", "get", "a b"])).rstrip("\n") == "one\ntwo"
    await ceph.text(["config-key", "rm", "a b"])


async def test_no_error_quotes_what_may_be_a_key(ceph: Ceph, cluster: Cluster) -> None:
    program = cluster.files / "bin" / "ceph"
    program.write_text("#!/bin/sh\necho AQsecret\n")
    program.chmod(0o755)
    for argv, shown in ((["auth", "get", "client.a"], ""), (["status"], "AQsecret\n")):
        with pytest.raises(ShoalError, match="printed no JSON") as caught:
            await ceph.command(argv)
        assert caught.value.details == shown
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
