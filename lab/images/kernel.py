"""Kernels and initrds for emulated machines: what an emulated CPU would do slowly is done here, once, when building.

Must not know what boots them.
"""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.command import run

XZ = b"\xfd7zXZ\x00"
INIT = "init"


def unpack(vmlinuz: Path) -> bytes:
    """The ELF image inside a bzImage: Xen takes it as it is, and it boots seconds earlier under emulation."""
    packed = vmlinuz.read_bytes()
    return lzma.LZMADecompressor().decompress(packed[packed.index(XZ) :])


def version(tree: Path) -> str:
    """The version of the only kernel in a tree."""
    (folder,) = (tree / "usr/lib/modules").iterdir()
    return folder.name


def modules_with_dependencies(tree: Path, names: Sequence[str]) -> list[Path]:
    """The files of these modules, relative to the tree, each after what it needs."""
    files: dict[Path, None] = {}
    for name in names:
        argv = ["modprobe", "--dirname", str(tree), "--set-version", version(tree), "--show-depends", name]
        for line in run(argv, timeout_s=30).stdout.splitlines():
            kind, *rest = line.split()
            if kind == "insmod":  # else built in
                files[Path(rest[0]).resolve().relative_to(tree.resolve())] = None
    return list(files)


def make_initrd(
    target: Path, tree: Path, *, init: str, modules: Sequence[str], files: Sequence[tuple[Path, str]]
) -> None:
    """An uncompressed initrd: busybox, an init script, modules (listed in /modules in load order), more files."""
    root = target.with_name(f"{target.name}.tree")
    for folder in ("bin", "sbin", "dev", "proc", "sys", "mnt", "lib"):
        (root / folder).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    order = []
    for module in modules_with_dependencies(tree, modules):
        shutil.copyfile(tree / module, root / "lib" / module.name)
        order.append(f"/lib/{module.name}")
    (root / "modules").write_text("\n".join(order) + "\n")
    for source, place in files:
        shutil.copy2(source, root / place)
    (root / INIT).write_text(init)
    (root / INIT).chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    command: list[str | Path] = [
        "cpio",
        "--create",
        "--format=newc",
        "--quiet",
        "--owner=0:0",
        "-D",
        root,
        "-O",
        target.resolve(),
    ]
    run(command, timeout_s=60, input=names)
    shutil.rmtree(root)
