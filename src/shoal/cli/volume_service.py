"""`shoal volume-service`: all that a Ceph cluster which Shoal does not keep needs to run the volume service."""

from __future__ import annotations

from pathlib import Path

from shoal.cli import door
from shoal.cli.render import output_console
from shoal.kit.errors import ShoalError
from shoal.spec.load import read_spec
from shoal.steps import volume_service_pack


def run(file: Path, to: Path) -> int:
    spec = read_spec(file).spec
    if spec.ceph.existing is None:
        raise ShoalError(
            "the spec names no existing Ceph cluster; on one that Shoal makes, `shoal apply` runs the volume service",
            where="ceph",
        )
    for line in volume_service_pack.write(spec, to):
        output_console().print(line, soft_wrap=True)
    return door.OK
