"""The program `shoal` as a process, against the stand-in on loopback: refusals with their place, and the lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.pins import Pins
from shoal.clients.xenapi import XenApi
from shoal.engine.lock import KEY, LockHeld, PoolLock, hold
from shoal.kit.secret import Secret

SPEC = """\
pool:
  url: {url}
  password: {{env: PASSWORD}}
network:
  public: {{bridge: xenbr0, cidr: 127.0.0.0/8}}
hosts:
  - {{name: xen1, storage_vm: {{address: 127.0.1.1}}, disks: [{{device: /dev/disk/by-id/x, use: free-space}}]}}
storage_vm: {{image: image.raw}}
ceph: {{image: "ceph:v18.2.7", replicas: 1, min_replicas: 1}}
srs: [{{name: shoal, type: rbd}}]
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackPool]:
    with LoopbackPool(tmp_path_factory.mktemp("pool")) as running:
        yield running


@pytest.fixture
def spec(pool: LoopbackPool, tmp_path: Path) -> Path:
    file = tmp_path / "shoal.yaml"
    file.write_text(SPEC.format(url=pool.url))
    return file


def start(*arguments: object, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from shoal.cli import main; main()", *map(str, arguments)]
    environ = {**os.environ, "PASSWORD": PASSWORD, "NO_COLOR": "1", "COLUMNS": "200", **environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def run(spec: Path, verb: str, *arguments: str, **environ: str) -> tuple[int, str]:
    with start(verb, "-f", spec, "--state", spec.parent / "state", *arguments, **environ) as process:
        out, err = process.communicate(timeout=240)
        return process.returncode, out + err


def other_config(pool: LoopbackPool) -> dict[str, str]:
    database = pool.master.toolstack.db
    (ref,) = database.refs("pool")
    return dict(database.row("pool", ref)["other_config"])


def test_wrong_password(spec: Path) -> None:
    code, said = run(spec, "apply", "--yes", PASSWORD="not it")
    assert code == 1
    assert said.startswith(f"shoal: {spec}:3:13: pool.password: the pool at 127.0.0.1 refuses root's password")
    assert "not it" not in said


def test_changed_certificate(spec: Path) -> None:
    run(spec, "plan")
    (pins,) = (spec.parent / "state").glob("*/pins.json")
    known = json.loads(pins.read_text())
    (kind,) = (kind for kind, names in known.items() if any("127.0.0.1" in name for name in names))
    known[kind] = dict.fromkeys(known[kind], "sha256:" + "0" * 64)
    pins.write_text(json.dumps(known))
    code, said = run(spec, "apply", "--yes")
    assert code == 1
    assert said.startswith(f"shoal: {spec}:2:8: pool.url: the ")
    assert "0" * 64 in said
    assert str(pins) in said


def test_certificate_that_is_not_the_one_in_the_spec(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("  password:", f"  fingerprint: sha256:{'0' * 64}\n  password:"))
    code, said = run(spec, "plan")
    assert code == 1
    assert said.startswith(f"shoal: {spec}:3:16: pool.fingerprint: the ")


def test_nobody_answers(spec: Path) -> None:
    spec.write_text(SPEC.format(url="https://127.0.0.1:1"))
    code, said = run(spec, "status")
    assert code == 1
    assert f"{spec}:2:8: pool.url: the toolstack of 127.0.0.1 does not answer" in said


def test_a_host_without_ssh_is_a_problem_and_nothing_is_touched(spec: Path, pool: LoopbackPool) -> None:
    spec.write_text(spec.read_text() + "ssh: {port: 1}\n")
    before = other_config(pool)
    code, said = run(spec, "apply", "--yes")
    assert code == 1
    assert f"{spec}:7:5: hosts.0: no SSH to xen1" in said
    assert "nothing was touched" in said
    assert other_config(pool) == before


async def test_the_lock_over_the_wire(spec: Path, pool: LoopbackPool, tmp_path: Path) -> None:
    clients = [XenApi(pool.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json")) for _ in range(2)]
    before = other_config(pool)
    async with hold(PoolLock(clients[0])):
        with pytest.raises(LockHeld, match=f"pid {os.getpid()}"):
            await PoolLock(clients[1]).acquire()
        process = start("apply", "-f", spec, "--yes", "--state", tmp_path / "other state")
        out, err = process.communicate(timeout=240)
        assert process.returncode == 1, out
        assert f"another apply holds the pool's lock: root@{os.uname().nodename} (pid {os.getpid()}), since " in err
    assert other_config(pool) == before
    for client in clients:
        await client.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_apply_that_is_stopped(spec: Path, pool: LoopbackPool, number: int, code: int) -> None:
    """It lets go of the lock if it can; if it cannot, the next one on this machine takes the lock over at once."""
    process = start("apply", "-f", spec, "--yes", "--state", spec.parent / "state")
    deadline = time.monotonic() + 30
    while KEY not in other_config(pool):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert (KEY in other_config(pool)) == (number == signal.SIGKILL)
    code, said = run(spec, "apply", "--yes")
    assert "nothing was touched" in said, said
    assert KEY not in other_config(pool)
