"""The command line from outside: exit codes, where things are said, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal import __version__, converge
from shoal.cli import door, main
from shoal.facts import Facts
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.plan.action import Action, Change, Plan
from shoal.plan.planner import make_plan
from shoal.spec.load import Document
from tests.model.world import World, make_facts

BASE = (Path(__file__).parents[2] / "cases" / "base.yaml").read_text()


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_POOL_PASSWORD", "s3cret")
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("tempfile.tempdir", None)
    file = tmp_path / "shoal.yaml"
    file.write_text(BASE)
    return file


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Facts | BaseException], None]:
    """What a look at the pool finds, in place of a pool."""

    def set_facts(found: Facts | BaseException) -> None:
        async def look(document: Document, state: Path) -> Facts:
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr(converge, "look", look)

    return set_facts


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def finished(document_facts: Facts, spec_file: Path) -> Facts:
    from shoal.spec.load import read_spec

    world = World(read_spec(spec_file).spec, document_facts)
    for action in make_plan(world.spec, world.facts).actions:
        world.do(action)
    return world.facts


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("frobnicate") == 2
    assert 'Unknown command "frobnicate"' in capsys.readouterr().err


def test_validate(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "-f", spec) == 0
    assert "3 hosts, 4 disks, 3 replicas" in capsys.readouterr().out


def test_mistakes_of_a_spec_as_compilers_write_them(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(BASE.replace("xen2", "xen1", 1).replace("replicas: 3,", "replicas: 9,"))
    assert run("apply", "-f", spec, "--yes") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{spec}:11:11: hosts.1.name: host xen1 stands here twice")
    assert lines[1].startswith(f"{spec}:21:54: ceph.replicas: 9 replicas need 9 hosts")
    assert "2 mistakes; nothing was touched" in lines[2]


def test_plan(spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    seeing(make_facts(3, 2))
    assert run("plan", "-f", spec) == 0
    out = capsys.readouterr().out
    assert "to create" in out
    assert "+ partition xen1:1  no partition named shoal-osd-xen1-1" in out
    assert run("plan", "-f", spec, "--exit-code") == 10


def test_plan_of_a_finished_pool(spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    seeing(finished(make_facts(3, 2), spec))
    assert run("plan", "-f", spec, "--exit-code") == 0
    assert capsys.readouterr().out.strip() == "nothing to do; 47 already as wanted"
    assert run("plan", "-f", spec, "--json") == 0
    assert json.loads(capsys.readouterr().out)["changes"] == 0


def test_plan_with_problems(spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(BASE.replace("SHOAL-xen2-1", "SHOAL-absent"))
    seeing(make_facts(3, 2))
    assert run("plan", "-f", spec) == 1
    err = capsys.readouterr().err
    assert f"{spec}:14:18: hosts.1.disks.0.device: xen2 has no disk" in err
    assert "1 problem; nothing was touched" in err


def test_status(spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    seeing(make_facts(3, 2))
    assert run("status", "-f", spec) == 1
    assert "✗ there is no SR shoal  → shoal apply" in capsys.readouterr().out
    assert run("status", "-f", spec, "--json") == 1
    read = json.loads(capsys.readouterr().out)
    assert read["healthy"] is False
    assert read["facts"]["pool"]["master"] == "xen1"


def test_apply_asks_and_here_nobody_answers(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(os.devnull) as nobody, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123
        patch.setattr("sys.stdin", nobody)
        assert run("apply", "-f", spec) == 1
    assert "--yes" in capsys.readouterr().err


def test_an_upgrade_to_an_image_without_its_registry(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("upgrade", "-f", spec, "--image", "ceph/ceph:v19.2.4", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "ceph/ceph:v19.2.4 names no registry" in said and "quay.io/ceph/ceph:v19.2.4" in said


def test_a_dry_run_of_an_upgrade_says_what_would_be_done_and_asks_nobody(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def plan_upgrade(*_: object) -> Plan:
        return Plan((Action("ceph_upgrade", "cluster", Change.UPDATE, "3 of 3 daemons run the old one"),))

    async def upgrade(*_: object, **__: object) -> converge.Result:
        raise AssertionError("it is carried out")

    monkeypatch.setattr(converge, "plan_upgrade", plan_upgrade)
    monkeypatch.setattr(converge, "upgrade", upgrade)
    assert run("upgrade", "-f", spec, "--dry-run") == 0
    assert "3 of 3 daemons run the old one" in capsys.readouterr().out


def test_a_host_that_the_spec_has_with_other_values_is_not_added(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--disk", "/dev/disk/by-id/scsi-SHOAL-xen2-1", "--yes")
    assert run("host", "add", "xen2", "-f", spec, "--address", "10.77.0.99", *there) == 1
    assert "the spec has a host xen2 already, at another address" in capsys.readouterr().err
    other = ("--disk", "/dev/disk/by-id/other", "--yes")
    assert run("host", "add", "xen2", "-f", spec, "--address", "10.77.0.22", *other) == 1
    assert "the spec has a host xen2 already, with other disks" in capsys.readouterr().err


def test_an_error_whose_cause_stands_in_the_spec(
    spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    seeing(ShoalError("the pool refuses root's password", resolution="Correct it.", where="pool.password"))
    assert run("status", "-f", spec) == 1
    err = capsys.readouterr().err
    assert f"{spec}:3:13: pool.password: the pool refuses root's password" in err
    assert "Correct it." in err


def test_something_temporary(spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    seeing(TemporaryError("no answer"))
    assert run("plan", "-f", spec) == 1
    assert "shoal: no answer" in capsys.readouterr().err


def test_a_bug_writes_a_report_without_secrets(
    spec: Path, seeing: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    seeing(ZeroDivisionError("something impossible at /?session_id=OpaqueRef%3A12-ab"))
    assert run("plan", "-f", spec) == 3
    assert "this is a bug in Shoal: ZeroDivisionError" in capsys.readouterr().err
    (report,) = spec.parent.glob("shoal-bug-*.txt")
    text = report.read_text()
    assert "something impossible" in text
    assert "s3cret" not in text and "12-ab" not in text
    assert report.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_cancel_and_let_it_clean_up(
    number: signal.Signals, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    async def look(document: Document, state: Path) -> Facts:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("lock released")
        raise AssertionError

    monkeypatch.setattr(converge, "look", look)
    assert run("status", "-f", spec) == door.INTERRUPTED
    assert cleaned == ["lock released"]
