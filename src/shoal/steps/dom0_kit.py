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
    DOM0_PLUGIN,
    DOM0_PLUGIN_LINK,
    DOM0_WHITELIST,
    ShippedFile,
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

# Few round trips, and few processes: a dom0 may be slow, and is busy meanwhile. Parts of the answer are divided by the
# character 1: the kit's files with their checksums, the keeper's state, the modules file, Shoal's own conf, then every
# other file that xapi reads, in order.
# $1 modules file, $2 own conf, $3 conf folder, $4 the keeper's unit, $5 code, then the files outside of it
LOOK = """modules=$1 own=$2 conf=$3 keeper=$4 code=$5; shift 5
[ ! -d "$code" ] || find "$code" -name '*.py' -exec sha256sum {} +; sha256sum "$@" 2>/dev/null; printf '\\001'
[ ! -e "$keeper" ] || { systemctl is-enabled "${keeper##*/}"; systemctl is-active "${keeper##*/}"; } 2>/dev/null
for f in "$modules" "$own"; do printf '\\001'; [ ! -f "$f" ] || cat "$f"; done
for f in /etc/xapi.conf "$conf"/*; do
[ -f "$f" ] && [ "$f" != "$own" ] || continue; printf '\\001'; cat "$f"; done; true"""
# $1 stage, $2 the keeper's unit, $3 code, $4 the plugin in it, $5 where the toolstack looks for that, then the files
# outside of the code; all come on standard input. The plugin's link is first: once the files are there, nobody comes
# back to it. Then the code is put in place, the driver last: who calls it meanwhile gets the old or the new one. The
# keeper is stopped before: if it runs afterwards, it runs the new code. systemd reads its units anew only where it knew
# old ones: it takes seconds. An older sync knows no -f.
INSTALL = f"""set -e; stage=$1 keeper=$2 code=$3; set -- "$4" "$5" "$@"
{container_plugin.LINK}
shift 7; rm -rf "$stage" "$stage.old"; mkdir -p "$stage" "${{code%/*}}"
tar -x -C "$stage"; known=; [ ! -e "$keeper" ] || {{ known=1; systemctl stop "${{keeper##*/}}"; }}
[ ! -d "$code" ] || mv "$code" "$stage.old"
mv "$stage$code" "$code"; sync -f "$code" 2>/dev/null || sync
for f; do [ -d "${{f%/*}}" ] || mkdir -p "${{f%/*}}"; mv -f "$stage$f" "$f"; done
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
    settings = _missing_settings(seen)
    if not seen.is_installed:
        files = (*settings, *dom0_files())
        tools.progress(action, f"installing {len(files)} files and starting the keeper")
        outside = (*(file.path for file in settings), *DOM0_OUTSIDE)
        argv = ["sh", "-c", INSTALL_AND_START, "sh", STAGE, DOM0_KEEPER_UNIT, DOM0_CODE]
        argv += [DOM0_PLUGIN, DOM0_PLUGIN_LINK, *outside]
        await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S, input=pack(files))
        return
    if settings:
        await dom0.write_files(settings)
    if not seen.keeper_runs:
        tools.progress(action, "starting the keeper")
        await dom0.run(["sh", "-c", START_ALONE, "sh", DOM0_KEEPER_UNIT], timeout_s=COMMAND_TIMEOUT_S)


def _missing_settings(seen: Look) -> tuple[ShippedFile, ...]:
    """Files that are not the same in every dom0, and so no part of the kit."""
    missing = [] if seen.has_modules_file else [ShippedFile(MODULES_CONF, MODULES_TEXT.encode())]
    if seen.merged is not None and seen.lacks_whitelist:
        missing.append(ShippedFile(OWN_CONF, sm_plugins.write_file(seen.merged).encode()))
    return tuple(missing)


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
