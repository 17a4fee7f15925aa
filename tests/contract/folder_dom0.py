"""An SSH server that plays a dom0 whose file system is a folder: absolute paths in what it is told mean that folder."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh

from lab.xapi.loopback import LoopbackHost
from tests.contract.test_product_look import Dom0

# Says what was done to which unit, and knows which are on. The unit is the last word.
SYSTEMCTL = """#!/bin/sh
state=$(dirname "$0")/../units; mkdir -p "$state"; wants=$(dirname "$0")/../etc/systemd/system/multi-user.target.wants
for unit; do :; done
case "$1" in
    enable) mkdir -p "$wants"; ln -sfn "/etc/systemd/system/$unit" "$wants/$unit" ;;
    disable) rm -f "$wants/$unit" ;;
    start) touch "$state/$unit" ;;
    stop) rm -f "$state/$unit" ;;
    is-active) [ -e "$state/$unit" ] ;;
esac
"""
NOT_COMPARED = ("bin/", "units/", "storage/", "var/tmp", "var/run", "requests.jsonl", "local-port")
PATHS = re.compile(r"(?<![\w./-])/(opt|etc|var|run)/")


class FolderDom0:
    """The dom0 of a host of the stand-in. `commands` counts what it was told."""

    def __init__(self, host: LoopbackHost) -> None:
        self.host, self.root = host, str(host.root)
        self.commands = 0
        self.port = 0
        bin_folder = host.root / "bin"
        bin_folder.mkdir(exist_ok=True)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("udevadm", "#!/bin/sh\n"),
            ("xe-toolstack-restart", "#!/bin/sh\n"),
        ):
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        (host.root / "var/run").mkdir(parents=True, exist_ok=True)
        self._path = f"{bin_folder}:/usr/bin:/bin:/usr/sbin:/sbin"

    def inside(self, text: str) -> str:
        """The same words, for this folder. Nothing that a test runs may reach the machine's own files."""
        told = PATHS.sub(rf"{self.root}/\1/", text)
        assert "/opt/shoal" not in told.replace(f"{self.root}/opt/shoal", ""), told
        return told

    async def execute(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.commands += 1
        command, data = process.command or "true", await process.stdin.read()
        if command.startswith("python3"):
            data = self.inside(data.decode()).encode()
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", self.inside(command), stdin=-1, stdout=-1, stderr=-1, env={"PATH": self._path}
        )
        out, err = await child.communicate(data)
        if "xe-toolstack-restart" in command:
            await asyncio.to_thread(self._restart)
        process.stdout.write(out.replace(f"{self.root}/".encode(), b"/"))
        process.stderr.write(err)
        process.exit(child.returncode or 0)

    def _restart(self) -> None:
        self.host.stop()
        self.host.start()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Dom0, server_host_keys=[key], process_factory=self.execute, encoding=None
        )
        self.port = server.get_port()
        try:
            yield
        finally:
            server.close()


def contents(root: Path) -> dict[str, bytes]:
    """Every file and link of a dom0 that a person could have written, by path."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(("bin/", "units/", "storage/", "var/tmp", "var/run")) or name in (
            "requests.jsonl",
            "local-port",
        ):
            continue
        if path.is_symlink() or path.is_file():
            found[name] = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    return found


def copy_driver(source: Path, host: LoopbackHost) -> None:
    """A small driver in the place of Shoal's own, which needs a Ceph."""
    target = host.root / "opt/xensource/sm/RBDSR"
    shutil.copy(source, target)
    target.chmod(0o755)
