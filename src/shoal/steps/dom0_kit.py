"""Shoal's files in a dom0: the SM driver and its place on the whitelist, the rbd module, systemd units, udev rules."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import DOM0_CODE, DOM0_OUTSIDE, ShippedFile, dom0_files
from shoal.plan.action import Action
from shoal.steps import sm_plugins
from shoal.steps.tools import Tools

timeout_s = 300.0
COMMAND_TIMEOUT_S = 90.0
SR_TYPE = "rbd"
STAGE = "/opt/shoal/.stage"
CONF_FOLDER = "/etc/xapi.conf.d"
OWN_CONF = f"{CONF_FOLDER}/99-shoal.conf"
MODULES_CONF = "/etc/modules-load.d/shoal.conf"
MODULES_TEXT = f"{SR_TYPE}\n"

# Few round trips: a dom0 may be slow. Parts of the answer are divided by the character 1: the kit's files with their
# checksums, the modules file, Shoal's own conf, then every other file that xapi reads, in its order.
# $1 modules file, $2 own conf, $3 conf folder, $4 code, then the files outside of it
LOOK = """modules=$1 own=$2 conf=$3 code=$4; shift 4
find "$code" -name '*.py' -exec sha256sum {} + 2>/dev/null; sha256sum "$@" 2>/dev/null
printf '\\001'; cat "$modules" 2>/dev/null; printf '\\001'; cat "$own" 2>/dev/null
for f in /etc/xapi.conf "$conf"/*; do
[ -f "$f" ] && [ "$f" != "$own" ] || continue; printf '\\001'; cat "$f"; done; true"""
# $1 stage, $2 code, then the files outside of it; all come on standard input. The code is put in place first, the
# driver last: who calls it meanwhile gets the old one or the new one.
INSTALL = """set -e; stage=$1 code=$2; shift 2; rm -rf "$stage" "$stage.old"; mkdir -p "$stage" "${code%/*}"
tar -x -C "$stage"; [ ! -d "$code" ] || mv "$code" "$stage.old"
mv "$stage$code" "$code"; sync -f "$code"
for f; do mkdir -p "${f%/*}"; mv -f "$stage$f" "$f"; done
rm -rf "$stage" "$stage.old"; systemctl daemon-reload"""


@dataclass(frozen=True, slots=True)
class Look:
    is_installed: bool
    has_modules_file: bool
    own_conf: str
    merged: tuple[str, ...] | None  # None: the whitelist needs no file of Shoal's

    @property
    def lacks_whitelist(self) -> bool:
        return self.merged is not None and self.own_conf != sm_plugins.write_file(self.merged)


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    seen = await _look(dom0)
    if not seen.has_modules_file:
        await dom0.write_file(MODULES_CONF, MODULES_TEXT.encode())
    if seen.merged is not None and seen.lacks_whitelist:
        await dom0.write_file(OWN_CONF, sm_plugins.write_file(seen.merged).encode())
    if not seen.is_installed:
        files = dom0_files()
        tools.progress(action, f"installing {len(files)} files")
        argv = ["sh", "-c", INSTALL, "sh", STAGE, DOM0_CODE, *DOM0_OUTSIDE]
        await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S, input=pack(files))


async def verify(action: Action, tools: Tools) -> str:
    seen = await _look(await tools.dom0(action.target))
    if not seen.is_installed:
        return "the installed files are not those of this version"
    return f"the toolstack's sm-plugins list lacks {SR_TYPE}" if seen.lacks_whitelist else ""


async def _look(dom0: Ssh) -> Look:
    argv = ["sh", "-c", LOOK, "sh", MODULES_CONF, OWN_CONF, CONF_FOLDER, DOM0_CODE, *DOM0_OUTSIDE]
    kit, modules, own, *others = (await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.split("\x01")
    wanted = {f"{hashlib.sha256(file.data).hexdigest()}  {file.path}" for file in dom0_files()}
    return Look(set(kit.splitlines()) == wanted, modules == MODULES_TEXT, own, sm_plugins.merge(others, SR_TYPE))


def pack(files: tuple[ShippedFile, ...]) -> bytes:
    """All files in one go: under emulation each round trip counts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.size, info.mode = len(file.data), file.mode
            tar.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()
