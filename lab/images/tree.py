"""Debian trees made by mmdebstrap, without what nobody reads in a lab. Must not know what they are for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lab.command import run

# Manuals and translations are half of a small tree.
STRIP = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")


def bootstrap(
    tree: Path, *, suite: str, packages: Sequence[str], hooks: Sequence[str] = (), exclude: Sequence[str] = ()
) -> None:
    """Make a Debian tree. `hooks` are mmdebstrap's customize hooks: each a shell line that gets the tree as $1.

    `exclude`: more paths (with *) that packages do not get to unpack.
    """
    options = [f"--dpkgopt=path-exclude={path}" for path in (*STRIP, *exclude)]
    options += [f"--customize-hook={hook}" for hook in hooks]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends false"]
    run([*command, *options, f"--include={','.join(packages)}", suite, tree], timeout_s=900)


def install_wheels(folder: Path, wheels: Sequence[str], *, python: str) -> None:
    """Put wheels (`name==version`) into a tree's folder of Python packages."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command += ["--root-user-action=ignore", "--platform", "manylinux2014_x86_64", "--implementation", "cp"]
    command += ["--python-version", python, "--abi", "abi3", "--abi", "none"]
    run([*command, "--target", folder, *wheels], timeout_s=300)


def disk_usage_bytes(tree: Path) -> int:
    """What a tree takes on disk."""
    return int(run(["du", "-s", "--block-size=1", tree], timeout_s=120).stdout.split()[0])
