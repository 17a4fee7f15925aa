"""Shoal's files in a host's dom0: the SM driver, its place on the toolstack's whitelist, the rbd module at boot."""

from __future__ import annotations

import hashlib
import io
import tarfile

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import DOM0_CODE, DOM0_DRIVER, ShippedFile, dom0_files
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

# The code first, its entry point last: who calls the driver meanwhile gets the old one or the new one.
INSTALL = """set -e
rm -rf "$1.old"; [ ! -d "$2" ] || mv "$2" "$1.old"
mkdir -p "${2%/*}" "${3%/*}"; mv "$1$2" "$2"
sync -f "$2"; mv -f "$1$3" "$3"
rm -rf "$1" "$1.old"
python3 -m compileall -q "$2" >/dev/null || true
modprobe rbd || true"""
# Prints every file that xapi reads, in its order, each after a line with its name; Shoal's own is left out.
READ_CONF = """for f in /etc/xapi.conf "$1"/*; do
[ -f "$f" ] && [ "$f" != "$2" ] || continue; printf '\\001'; cat "$f"; done; true"""


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    if not await _is_installed(dom0):
        files = dom0_files()
        tools.progress(action, f"installing {len(files)} files")
        await dom0.run(["rm", "-rf", STAGE], timeout_s=COMMAND_TIMEOUT_S)
        await dom0.run(["mkdir", "-p", STAGE], timeout_s=COMMAND_TIMEOUT_S)
        await dom0.run(["tar", "-x", "-C", STAGE], timeout_s=COMMAND_TIMEOUT_S, input=pack(files))
        argv = ["sh", "-c", INSTALL, "sh", STAGE, DOM0_CODE, DOM0_DRIVER]
        await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)
    if await dom0.read_file(MODULES_CONF) != f"{SR_TYPE}\n".encode():
        await dom0.write_file(MODULES_CONF, f"{SR_TYPE}\n".encode())
    merged = sm_plugins.merge(await _read_conf(dom0), SR_TYPE)
    if merged is not None:
        text = sm_plugins.write_file(merged).encode()
        if await dom0.read_file(OWN_CONF) != text:
            await dom0.write_file(OWN_CONF, text)


async def verify(action: Action, tools: Tools) -> str:
    dom0 = await tools.dom0(action.target)
    if not await _is_installed(dom0):
        return "the installed files are not those of this version"
    merged = sm_plugins.merge(await _read_conf(dom0), SR_TYPE)
    if merged is not None and await dom0.read_file(OWN_CONF) != sm_plugins.write_file(merged).encode():
        return f"the toolstack's sm-plugins list lacks {SR_TYPE}"
    return ""


def pack(files: tuple[ShippedFile, ...]) -> bytes:
    """All files in one go: under emulation each round trip counts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.size, info.mode = len(file.data), file.mode
            tar.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


async def _is_installed(dom0: Ssh) -> bool:
    """Whether exactly these files are there, by sha256sum's own list."""
    wanted = {f"{hashlib.sha256(file.data).hexdigest()}  {file.path}" for file in dom0_files()}
    argv = ["sh", "-c", 'find "$1" -name "*.py" -exec sha256sum {} +; sha256sum "$2"', "sh", DOM0_CODE, DOM0_DRIVER]
    found = await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S, check=False)
    return found.code == 0 and set(found.stdout.splitlines()) == wanted


async def _read_conf(dom0: Ssh) -> list[str]:
    argv = ["sh", "-c", READ_CONF, "sh", CONF_FOLDER, OWN_CONF]
    return (await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.split("\x01")[1:]
