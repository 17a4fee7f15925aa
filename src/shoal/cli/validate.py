"""`shoal validate`: the spec by itself."""

from __future__ import annotations

from pathlib import Path

from shoal.cli.render import output_console
from shoal.spec.load import read_spec


def run(file: Path) -> int:
    spec = read_spec(file).spec
    disks = sum(len(host.disks) for host in spec.hosts)
    cluster = (
        f"{disks} disks, {spec.ceph.replicas} replicas" if spec.ceph.existing is None else "an existing Ceph cluster"
    )
    text = f"{file} is well-formed: {len(spec.hosts)} hosts, {cluster}"
    output_console().print(text, soft_wrap=True)
    return 0
