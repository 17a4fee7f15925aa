"""`shoal collect` as a process: secrets planted wherever it looks are nowhere in the bundle; half a pool is enough."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any

from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.observe.bundle import PIECE_BYTES
from tests.contract.folder_dom0 import FolderDom0
from tests.contract.pools import log_in
from tests.contract.test_product_command import SPEC, run

CEPHX = base64.b64encode(b"\x01\x00" + bytes(range(200, 226))).decode()
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n"
IN_POOL = "a value that only the pool's secret holds"
IN_DOM0 = "MC4CAQAwBQYDK2VwBCIEIOnlyInThisDom0"
SECRETS = [PASSWORD, CEPHX, PEM.splitlines()[1], IN_POOL, IN_DOM0, "0f3a-5e55"]
WORDS = ["RBDSR shoal", PASSWORD, CEPHX, json.dumps(PEM), IN_POOL, IN_DOM0, "session_ref OpaqueRef:0f3a-5e55"]
LINE = " ".join(WORDS)


def plant(dom0: FolderDom0, api: Any, state: Path) -> None:
    root = dom0.host.root
    for name in ("var/log", "etc/shoal/volumes"):
        (root / name).mkdir(parents=True)
    (root / "var/log/SMlog").write_text(f"before\n{LINE}\nRBDSR stays\n")
    key = PEM.replace(PEM.splitlines()[1], IN_DOM0)
    (root / "etc/shoal/volumes/client.key").write_text(key)
    (root / "bin/journalctl").write_text(f"#!/bin/sh\ncat <<'END'\n{LINE}\nkeeper stays\n{PEM}\nEND\n")
    (root / "bin/journalctl").chmod(0o755)
    (root / "etc/xapi.conf.d/99-shoal.conf").write_text(f"sm-plugins={CEPHX}\n")
    api.secret.create(
        {"value": "filler" * (PIECE_BYTES // 6 + 1), "other_config": {}}
    )  # more than a file of a bundle holds
    api.secret.create({"value": IN_POOL, "other_config": {}})
    (pool,) = api.pool.get_all()
    api.pool.add_to_other_config(pool, "note", LINE)


async def collect(spec: Path, bundle: Path) -> tuple[int, str]:
    argv = [sys.executable, "-c", "from shoal.cli import main; main()", "collect", "-f", str(spec)]
    argv += ["--state", str(spec.parent / "state"), "-o", str(bundle)]
    env = {**os.environ, "PASSWORD": PASSWORD, "NO_COLOR": "1", "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(*argv, stdout=-1, stderr=-2, env=env)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def unpack(bundle: Path) -> dict[str, bytes]:
    files = {}
    with tarfile.open(bundle) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            files[member.name.partition("/")[2]] = file.read()
    return files


async def test_planted_secrets_are_nowhere_in_the_bundle(tmp_path: Path) -> None:
    pool = LoopbackPool(tmp_path / "pool")
    dom0 = FolderDom0(pool.master)
    with pool:
        async with dom0.serve():
            spec, bundle = tmp_path / "shoal.yaml", tmp_path / "bundle.tar.gz"
            spec.write_text(SPEC.format(url=pool.url) + f"ssh: {{port: {dom0.port}}}\n# {LINE}\n")
            await asyncio.to_thread(plant, dom0, log_in(pool), spec.parent / "state")
            code, said = await collect(spec, bundle)
            again, refusal = await collect(spec, bundle)
    assert code == 0, said
    assert "not known, and so not looked for in it: Ceph's keys: " in said
    assert (again, f"{bundle} is there already" in refusal) == (1, True)
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    files = unpack(bundle)
    assert [(path, secret) for path, data in files.items() for secret in SECRETS if secret.encode() in data] == []
    assert b"RBDSR stays" in files["dom0/xen1/SMlog.txt"] and b"keeper stays" in files["dom0/xen1/keeper.log"]
    assert {"spec.yaml", "facts.json", "plan.json", "status.json", "versions.json"} <= files.keys()
    assert json.loads(files["facts.json"])["hosts"][0]["name"] == "xen1"
    # There is no storage VM, no Ceph and no journal: the manifest says so, piece by piece.
    missing = json.loads(files["manifest.json"])["missing"]
    assert {"ceph/status.json", "storage-vm/xen1/ceph.log", "journal.json"} <= missing.keys()
    assert all(missing.values()) and not missing.keys() & files.keys()


def test_a_pool_that_is_silent_leaves_what_is_here(tmp_path: Path) -> None:
    spec, bundle = tmp_path / "shoal.yaml", tmp_path / "bundle.tar.gz"
    spec.write_text(SPEC.format(url="https://127.0.0.1:1") + "ssh: {port: 1}\n")
    code, said = run(spec, "collect", "-o", str(bundle))
    assert code == 0, said
    assert "The pool did not answer" in said
    files = unpack(bundle)
    missing = json.loads(files["manifest.json"])["missing"]
    assert "does not answer" in missing["facts.json"] and "spec.yaml" in files
