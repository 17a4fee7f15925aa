"""The witness guest: a tiny PV guest whose only work is to write what can be checked. Kernel and initrd lie in dom0.

Its sources are in lab/witness/.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.command import run
from lab.images import kernel
from lab.images.cache import cached

SOURCES = Path(__file__).parents[1] / "witness"
MODULES = ("xen-blkfront",)
KERNEL, INITRD = "boot/guest/vmlinuz", "boot/guest/witness.img"


def recipe() -> list[str]:
    """What the guest is made from."""
    return [path.read_text() for path in sorted(SOURCES.iterdir()) if path.is_file()]


def build(cache: Path) -> Path:
    """The folder with `witness`, the program: `witness verify FILE` checks a disk on the machine itself."""
    return cached(cache, "witness", [recipe(), 1], _compile)


def install(tree: Path, vmlinux: Path) -> None:
    """Put the guest's kernel and initrd into dom0's tree, where xl finds them."""
    program = tree.parent / "witness"
    _compile(tree.parent)
    shutil.copyfile(vmlinux, tree / KERNEL)
    init = (SOURCES / "init").read_text()
    files = ((program, "bin/witness"), (SOURCES / "poweroff", "sbin/poweroff"))
    kernel.make_initrd(tree / INITRD, tree, init=init, modules=MODULES, files=files)


def _compile(folder: Path) -> None:
    source = SOURCES / "witness.c"
    run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", folder / "witness", source], timeout_s=60)
