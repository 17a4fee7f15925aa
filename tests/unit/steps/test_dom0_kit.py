"""The shell of the step dom0_kit, run on folders of this machine with a systemctl that only keeps account."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.kit.shipped import (
    DOM0_CODE,
    DOM0_DRIVER,
    DOM0_KEEPER_UNIT,
    DOM0_OUTSIDE,
    DOM0_PLUGIN,
    DOM0_PLUGIN_LINK,
    dom0_files,
    pack,
)
from shoal.steps import dom0_kit

SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$ACCOUNT"
case "$1" in
    enable) touch "$ACCOUNT.enabled" ;;
    start) touch "$ACCOUNT.active" ;;
    stop) [ ! -e "$ACCOUNT.fails" ] || exit 1; rm -f "$ACCOUNT.active" ;;
    is-enabled) [ -e "$ACCOUNT.enabled" ] && echo enabled || { echo disabled; exit 1; } ;;
    is-active) [ -e "$ACCOUNT.active" ] && echo active || { echo inactive; exit 3; } ;;
esac
"""


class Root:
    """A dom0's file system in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = folder / "systemctl"
        (folder / "bin").mkdir()
        systemctl = folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)

    def path(self, path: str) -> str:
        return f"{self.folder}{path}"

    def run(self, script: str, *paths: str, input: bytes = b"", check: bool = True) -> str:
        argv = ["sh", "-c", script, "sh", *map(self.path, paths)]
        env = {"PATH": f"{self.folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "ACCOUNT": str(self.account)}
        return subprocess.run(argv, input=input, env=env, check=check, capture_output=True, timeout=20).stdout.decode()

    def install(self, script: str = dom0_kit.INSTALL, *, check: bool = True) -> None:
        files = tuple(replace(file, path=self.path(file.path)) for file in dom0_files())
        paths = (dom0_kit.STAGE, DOM0_KEEPER_UNIT, DOM0_CODE, DOM0_PLUGIN, DOM0_PLUGIN_LINK, *DOM0_OUTSIDE)
        self.run(script, *paths, input=pack(files), check=check)

    def look(self) -> tuple[set[str], list[str]]:
        """Paths of the kit's files that are there, and what systemctl said of the keeper."""
        paths = (dom0_kit.MODULES_CONF, dom0_kit.OWN_CONF, dom0_kit.CONF_FOLDER, DOM0_KEEPER_UNIT)
        kit, keeper, *_ = self.run(dom0_kit.LOOK, *paths, DOM0_CODE, *DOM0_OUTSIDE).split("\x01")
        return {line.split()[1].removeprefix(str(self.folder)) for line in kit.splitlines()}, keeper.split()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_nothing_is_there_at_first(root: Root) -> None:
    assert root.look() == (set(), [])
    assert not root.account.exists()  # systemd need not be asked for what is not there


def test_all_files_are_installed_and_the_keeper_is_started(root: Root) -> None:
    root.install()
    assert root.look() == ({file.path for file in dom0_files()}, ["disabled", "inactive"])
    root.run(dom0_kit.START_ALONE, DOM0_KEEPER_UNIT)
    assert root.look()[1] == ["enabled", "active"]
    assert Path(root.path(DOM0_DRIVER)).stat().st_mode & 0o777 == 0o755
    assert Path(root.path(DOM0_PLUGIN_LINK)).resolve() == Path(root.path(DOM0_PLUGIN)).resolve()


def test_one_script_does_both_and_has_systemd_read_units_anew_only_where_it_knew_old_ones(root: Root) -> None:
    def changes() -> list[str]:
        lines, _ = root.account.read_text().splitlines(), root.account.write_text("")
        return lines

    enable_start = ["enable --quiet --no-reload shoal-keeper.service", "start shoal-keeper.service"]
    root.install(dom0_kit.INSTALL_AND_START)
    assert changes() == enable_start
    root.install(dom0_kit.INSTALL_AND_START)
    assert changes() == ["stop shoal-keeper.service", "daemon-reload", *enable_start]


def test_a_running_keeper_is_stopped_before_its_code_is_replaced(root: Root) -> None:
    root.install()
    root.run(dom0_kit.START_ALONE, DOM0_KEEPER_UNIT)
    strange = Path(root.path(DOM0_CODE)) / "shoal_keeper" / "left_over.py"
    strange.touch()
    root.install()
    assert not strange.exists()
    assert root.look()[1] == ["enabled", "inactive"]  # killed here, the next apply sees it


def test_code_is_not_replaced_under_a_keeper_that_does_not_stop(root: Root) -> None:
    root.install()
    root.run(dom0_kit.START_ALONE, DOM0_KEEPER_UNIT)
    strange = Path(root.path(DOM0_CODE)) / "shoal_keeper" / "left_over.py"
    strange.touch()
    Path(f"{root.account}.fails").touch()
    root.install(check=False)
    assert strange.exists()
