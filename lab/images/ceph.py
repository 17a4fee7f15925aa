"""The Ceph container image of the lab: Ceph 18.2.7 of Debian trixie, since no registry can be reached.

A folder with `root/`, the tree. Whoever wants it in Docker imports it: see `lab.images.storage_vm`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.images.cache import cached
from lab.images.tree import bootstrap, install_wheels

NAME = "localhost/ceph:18.2.7"
# Without it ceph-volume refuses a loop device, which is what a lab's disk is.
ENVIRONMENT = {"CEPH_VOLUME_ALLOW_LOOP_DEVICES": "1"}

SUITE = "trixie"
PYTHON = "3.13"
PACKAGES = (
    *("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "ceph-volume", "ceph-mgr-cephadm", "ceph-mgr-modules-core"),
    *("cephadm", "python3-rbd", "python3-rados"),  # librbd for the volume service
    *("lvm2", "gdisk", "udev", "sudo", "openssh-client", "python3-yaml", "python3-six"),
)
# trixie's manager cannot import modules that use Rust: each of its modules is a Python interpreter of its own, which
# PyO3 refuses. These are the last releases without Rust (bcrypt, cryptography) and those that still fit them.
WHEELS = ("cryptography==3.4.8", "bcrypt==3.2.2", "asyncssh==2.9.0", "pyOpenSSL==20.0.1")


def build(cache: Path) -> Path:
    """The folder with the image's tree in `root/`."""
    return cached(cache, "ceph", {"suite": SUITE, "packages": PACKAGES, "wheels": WHEELS, "make": 1}, _make)


def _make(folder: Path) -> None:
    tree = folder / "root"
    bootstrap(tree, suite=SUITE, packages=PACKAGES)
    install_wheels(tree, WHEELS, python=PYTHON)
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc"):
        shutil.rmtree(tree / waste, ignore_errors=True)
