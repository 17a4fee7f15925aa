"""The program `shoal`: its verbs and their help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from shoal import __version__
from shoal.cli import (
    apply,
    collect,
    destroy,
    disk,
    disk_members,
    host,
    host_members,
    plan,
    status,
    upgrade,
    validate,
    volume_service,
)
from shoal.cli.door import leave
from shoal.cli.options import DEFAULT_SPEC, Json, SpecFile, StateFolder

app = App(
    name="shoal",
    version=__version__,
    version_flags=["--version"],
    help="One shared, replicated storage repository from the local disks of a XenServer or XCP-ng pool.",
    help_format="plaintext",
    help_epilogue="Exit codes: 0 ok, 1 failed, 2 bad spec or options, 3 a bug, 10 changes planned, 130 interrupted.",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)


@app.command(name="validate")
def _validate(*, file: SpecFile = DEFAULT_SPEC) -> int:
    """Check the spec by itself, without asking the pool.

    Example: shoal validate -f shoal.yaml
    """
    return validate.run(file)


@app.command(name="plan")
def _plan(
    *,
    file: SpecFile = DEFAULT_SPEC,
    json: Json = False,
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with 10 when something would change.")] = False,
    all: Annotated[bool, Parameter(negative="", help="Also list what is already as wanted.")] = False,
    state: StateFolder = None,
) -> int:
    """Say what apply would change, and why. Changes nothing.

    Example: shoal plan -f shoal.yaml --exit-code
    """
    return plan.run(file, state, json=json, exit_code=exit_code, everything=all)


@app.command(name="apply")
def _apply(
    *,
    file: SpecFile = DEFAULT_SPEC,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False,
    json: Json = False,
    state: StateFolder = None,
) -> int:
    """Make the pool as the spec says. Asks before it changes anything; may be killed and run again at any moment.

    Example: shoal apply -f shoal.yaml --yes
    """
    return apply.run(file, state, yes=yes, json=json)


@app.command(name="destroy")
def _destroy(*, options: destroy.Options = destroy.AS_USUAL) -> int:
    """Put the pool back as it was before Shoal. Asks for the pool's name; may be killed and run again at any moment.

    Example: shoal destroy -f shoal.yaml --dry-run
    """
    return destroy.run(options)


@app.command(name="status")
def _status(*, file: SpecFile = DEFAULT_SPEC, json: Json = False, state: StateFolder = None) -> int:
    """Say how the pool and its storage are, what is wrong and what to do. Exits with 0 when all is well, else 1.

    Example: shoal status -f shoal.yaml --json
    """
    return status.run(file, state, json=json)


@app.command(name="upgrade")
def _upgrade(*, options: upgrade.Options = upgrade.AS_USUAL) -> int:
    """Bring Ceph to another image, one daemon after the other. Asks first; one that is under way is followed.

    Example: shoal upgrade --image quay.io/ceph/ceph:v19.2.3 --dry-run
    """
    return upgrade.run(options)


@app.command(name="collect")
def _collect(
    *,
    file: SpecFile = DEFAULT_SPEC,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="The file to write; without it one named by the time.")
    ] = None,
    state: StateFolder = None,
) -> int:
    """Write a support bundle with no secrets: spec, facts, plan, journal, logs. Does without what does not answer.

    Example: shoal collect -o shoal.tar.gz
    """
    return collect.run(file, state, output=output)


@app.command(name="volume-service")
def _volume_service(
    *,
    to: Annotated[Path, Parameter(name="--to", help="The folder to write; what is there is written over.")],
    file: SpecFile = DEFAULT_SPEC,
) -> int:
    """Write what an existing Ceph cluster needs to run the volume service: files, certificates, commands.

    Example: shoal volume-service --to volume-service
    """
    return volume_service.run(file, to)


assert disk_members, "it adds its verbs to the group of disk"
assert host_members, "it adds its verbs to the group of host"
app.command(disk.verbs, name="disk")
app.command(host.verbs, name="host")


def main(arguments: Sequence[str] | None = None) -> None:
    sys.exit(leave(lambda: app(list(sys.argv[1:] if arguments is None else arguments))))
