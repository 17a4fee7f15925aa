"""The product's whole look at a pool: the stand-in over HTTPS, and dom0s that are SSH servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.connections import Connections
from shoal.observe import observe
from shoal.spec.load import parse
from shoal.spec.model import Spec
from shoal.spec.sources import Surroundings

SPEC = """
pool: {{url: "{url}", password: {{env: PASSWORD}}}}
ssh: {{port: {port}}}
network: {{public: {{bridge: xenbr0, cidr: 127.0.0.0/8}}}}
hosts:
  - {{name: xen1, storage_vm: {{address: 127.0.1.1}}, disks: [{{device: /dev/disk/by-id/x, use: free-space}}]}}
storage_vm: {{image: image.raw}}
ceph: {{image: ceph, replicas: 1, min_replicas: 1}}
srs: [{{name: shoal, type: rbd}}]
"""


class Dom0(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == PASSWORD


async def execute(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_exec("sh", "-c", process.command or "true", stdin=-1, stdout=-1, stderr=-1)
    out, err = await child.communicate(await process.stdin.read())
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode or 0)


@contextlib.asynccontextmanager
async def dom0() -> AsyncIterator[asyncssh.SSHAcceptor]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Dom0, server_host_keys=[key], process_factory=execute, encoding=None
    )
    yield server
    server.close()


def spec(folder: Path, url: str, port: int) -> Spec:
    (folder / "image.raw").write_bytes(b"image")
    text = SPEC.format(url=url, port=port)
    return parse(text, folder / "shoal.yaml", Surroundings(folder, {"PASSWORD": PASSWORD})).spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_everything_that_answers_is_seen(folder: Path) -> None:
    with LoopbackPool(folder / "pool", host_count=2) as pool:
        async with dom0() as server:
            wanted = spec(folder, pool.url, server.get_port())
            async with Connections(wanted, folder / "state") as connections:
                facts = await observe(wanted, connections)
    first, second = facts.hosts
    assert first.dom0 is not None, first.unreachable
    assert first.dom0.kernel
    assert first.dom0.clock_skew_s == 0
    assert (second.dom0, second.unreachable) == (None, "not asked: the spec does not name it")
    assert facts.ceph is None
    assert facts.storage_vms == ()
    assert set(facts.wanted_digests) == {"kit", "volume_service", "storage_vm_image"}
    assert all(len(digest) == 64 for digest in facts.wanted_digests.values())


async def test_a_dom0_that_does_not_answer_is_said_and_the_rest_is_seen(folder: Path) -> None:
    with LoopbackPool(folder / "pool") as pool:
        async with dom0() as server:
            port = server.get_port()
        wanted = spec(folder, pool.url, port)
        (folder / "image.raw").unlink()
        async with Connections(wanted, folder / "state") as connections:
            facts = await observe(wanted, connections)
    assert facts.hosts[0].dom0 is None
    assert "does not answer by SSH" in facts.hosts[0].unreachable
    assert facts.pool.master == "xen1"
    assert facts.wanted_digests["storage_vm_image"] == ""
