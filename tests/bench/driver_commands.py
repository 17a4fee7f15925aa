"""The `rbd` commands that earlier drivers run, and what each takes. One process a command, as they do it."""

from __future__ import annotations

import subprocess

from dom0.tests.ceph_kernel import Agent
from tests.bench.driver_clock import Spent, Stopwatch, total
from tests.ceph.cluster import Cluster

OPTIONS = ("-c", "/scratch/ceph.conf", "--keyring", "/scratch/admin.keyring")
METADATA = ("name_label", "name_description", "type", "read_only")


class CommandLine:
    """`agent` writes data where a figure wants some."""

    def __init__(self, cluster: Cluster, agent: Agent) -> None:
        self.agent = agent
        self._inside = cluster._inside()
        self.entering = min(self._run("true") for _ in range(10))

    def time(self, *commands: str) -> Spent:
        """`rbd` commands one after the other; getting into the little Ceph's namespaces is taken out."""
        spent = total([self._run("rbd", *OPTIONS, *command.split(" ")) for command in commands])
        entering = total([self.entering] * len(commands))
        return Spent(spent.wall_s - entering.wall_s, spent.cpu_s - entering.cpu_s)

    def _run(self, *argv: str) -> Spent:
        watch = Stopwatch()
        done = subprocess.run([*self._inside, *argv], capture_output=True, timeout=300, check=False)
        spent = watch.spent()
        assert done.returncode == 0, (argv, done.stderr)
        return spent


def create(image: str) -> tuple[str, ...]:
    """As the driver leaves it: the name, description and type of the disk are kept with the image."""
    made = f"create --size 1024 --image-feature layering,exclusive-lock rbd/{image}"
    return (made, *(f"image-meta set rbd/{image} shoal.{key} value" for key in METADATA))


def snapshot(image: str, name: str) -> tuple[str, ...]:
    return (f"snap create rbd/{image}@{name}",)


def clone(image: str, name: str, copy: str) -> tuple[str, ...]:
    at = f"rbd/{image}@{name}"
    return (f"snap create {at}", f"snap protect {at}", f"clone --rbd-default-clone-format 1 {at} rbd/{copy}")
