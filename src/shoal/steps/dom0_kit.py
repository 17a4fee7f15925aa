"""Shoal's files in a dom0: the SM driver and its place on the whitelist, keeper, rbd module, units, udev rules."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import (
    DOM0_CODE,
    DOM0_KEEPER_UNIT,
    DOM0_MODULES,
    DOM0_OUTSIDE,
    DOM0_WHITELIST,
    dom0_files,
    pack,
)
from shoal.plan.action import Action
from shoal.steps import container_plugin, sm_plugins
from shoal.steps.tools import Tools

timeout_s = 300.0
COMMAND_TIMEOUT_S = 90.0
SR_TYPE = "rbd"
STAGE = "/opt/shoal/.stage"
CONF_FOLDER = "/etc/xapi.conf.d"
OWN_CONF = DOM0_WHITELIST
MODULES_CONF = DOM0_MODULES
MODULES_TEXT = f"{SR_TYPE}\n"

# Few round trips: a dom0 may be slow. Parts of the answer are divided by the character 1: the kit's files with their
# checksums, the keeper's state, the modules file, Shoal's own conf, then every other file that xapi reads, in order.
# $1 modules file, $2 own conf, $3 conf folder, $4 the keeper's unit, $5 code, then the files outside of it
LOOK = """modules=$1 own=$2 conf=$3 keeper=${4##*/} code=$5; shift 5
find "$code" -name '*.py' -exec sha256sum {} + 2>/dev/null; sha256sum "$@" 2>/dev/null
printf '\\001'; systemctl is-enabled "$keeper" 2>/dev/null; systemctl is-active "$keeper" 2>/dev/null
printf '\\001'; cat "$modules" 2>/dev/null; printf '\\001'; cat "$own" 2>/dev/null
for f in /etc/xapi.conf "$conf"/*; do
[ -f "$f" ] && [ "$f" != "$own" ] || continue; printf '\\001'; cat "$f"; done; true"""
# $1 stage, $2 the keeper's unit, $3 code, then the files outside of it; all come on standard input. The code is put in
# place first, the driver last: who calls it meanwhile gets the old one or the new one. The keeper is stopped before: if
# it runs afterwards, it runs the new code. systemd reads its units anew only where it knew old ones: it takes seconds.
INSTALL = """set -e; stage=$1 keeper=$2 code=$3; shift 3; rm -rf "$stage" "$stage.old"; mkdir -p "$stage" "${code%/*}"
tar -x -C "$stage"; known=; [ ! -e "$keeper" ] || { known=1; systemctl stop "${keeper##*/}"; }
[ ! -d "$code" ] || mv "$code" "$stage.old"
mv "$stage$code" "$code"; sync -f "$code"
for f; do mkdir -p "${f%/*}"; mv -f "$stage$f" "$f"; done
rm -rf "$stage" "$stage.old"; [ -z "$known" ] || systemctl daemon-reload"""
# The keeper's unit is $keeper.
START = 'systemctl enable --quiet --no-reload "${keeper##*/}"; systemctl start "${keeper##*/}"'

INSTALL_AND_START = f"{INSTALL}\n{START}"
START_ALONE = f"set -e; keeper=$1; {START}"


@dataclass(frozen=True, slots=True)
class Look:
    is_installed: bool
    keeper_runs: bool
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
        tools.progress(action, f"installing {len(files)} files and starting the keeper")
        await container_plugin.link(dom0)  # before: once the files are there, nobody comes back to it
        argv = ["sh", "-c", INSTALL_AND_START, "sh", STAGE, DOM0_KEEPER_UNIT, DOM0_CODE, *DOM0_OUTSIDE]
        await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S, input=pack(files))
    elif not seen.keeper_runs:
        tools.progress(action, "starting the keeper")
        await dom0.run(["sh", "-c", START_ALONE, "sh", DOM0_KEEPER_UNIT], timeout_s=COMMAND_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    seen = await _look(await tools.dom0(action.target))
    if not seen.is_installed:
        return "the installed files are not those of this version"
    if seen.lacks_whitelist:
        return f"the toolstack's sm-plugins list lacks {SR_TYPE}"
    return "" if seen.keeper_runs else "the keeper does not run; its host says why: journalctl -u shoal-keeper"


async def _look(dom0: Ssh) -> Look:
    paths = (MODULES_CONF, OWN_CONF, CONF_FOLDER, DOM0_KEEPER_UNIT, DOM0_CODE, *DOM0_OUTSIDE)
    argv = ["sh", "-c", LOOK, "sh", *paths]
    kit, keeper, modules, own, *others = (await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.split("\x01")
    wanted = {f"{hashlib.sha256(file.data).hexdigest()}  {file.path}" for file in dom0_files()}
    return Look(
        is_installed=set(kit.splitlines()) == wanted,
        keeper_runs=keeper.split() == ["enabled", "active"],
        has_modules_file=modules == MODULES_TEXT,
        own_conf=own,
        merged=sm_plugins.merge(others, SR_TYPE),
    )
