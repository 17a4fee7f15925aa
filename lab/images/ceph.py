"""The Ceph container image of the lab: Ceph 18.2.7 of Debian trixie, since no registry can be reached.

A folder with `root/`, the tree. Whoever wants it in Docker imports it: see `lab.images.storage_vm`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.command import run
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
REPLACED = ("cryptography", "bcrypt", "asyncssh", "OpenSSL", "pyOpenSSL")
PYTHON_PACKAGES = "usr/lib/python3/dist-packages"  # the manager looks nowhere else
MODULES = "usr/share/ceph/mgr"
# The manager loads every module that it finds, wanted or not, one after the other: these are not wanted here.
UNWANTED = (
    *("alerts", "influx", "insights", "iostat", "localpool", "mirroring", "nfs", "osd_perf_query", "osd_support"),
    *("restful", "selftest", "snap_schedule", "stats", "telegraf", "test_orchestrator", "zabbix", "cephadm/tests"),
)


def build(cache: Path) -> Path:
    """The folder with the image's tree in `root/`."""
    recipe = {"suite": SUITE, "packages": PACKAGES, "wheels": WHEELS, "unwanted": UNWANTED, "make": 3}
    return cached(cache, "ceph", recipe, _make)


def _make(folder: Path) -> None:
    tree = folder / "root"
    bootstrap(tree, suite=SUITE, packages=PACKAGES)
    for name in REPLACED:
        for old in (tree / PYTHON_PACKAGES).glob(f"{name}*"):
            shutil.rmtree(old)
    install_wheels(tree / PYTHON_PACKAGES, WHEELS, python=PYTHON)
    waste = (*(f"{MODULES}/{name}" for name in UNWANTED), "var/cache/apt", "var/lib/apt/lists", "usr/share/doc")
    for name in waste:
        shutil.rmtree(tree / name, ignore_errors=True)
    # Its own packages leave this folder to systemd-tmpfiles, which no container runs; on a host without a daemon yet,
    # cephadm mounts nothing over it, and ceph-osd aborts without it.
    run(["chroot", tree, "install", "--directory", "--owner=ceph", "--group=ceph", "/run/ceph"], timeout_s=20)
    # Debian leaves the modules uncompiled, and a container cannot keep what it compiles at each start.
    run(["chroot", tree, "python3", "-m", "compileall", "-q", f"/{MODULES}", f"/{PYTHON_PACKAGES}"], timeout_s=300)
