"""`shoal status`: how the pool and its storage are."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.render import output_console
from shoal.facts import Ceph, Facts
from shoal.kit.folders import state_folder
from shoal.kit.sizes import format_size
from shoal.plan.findings import Finding, find_faults
from shoal.plan.found import sr_named
from shoal.spec.load import read_spec
from shoal.spec.model import Spec


def run(file: Path, state: Path | None, *, json: bool) -> int:
    document = read_spec(file)
    facts = door.run(converge.look(document, state_folder(document.spec.pool.url, state)), document)
    faults = find_faults(document.spec, facts)
    if json:
        findings = [asdict(fault) for fault in faults]
        print(json_format.dumps({"healthy": not faults, "findings": findings, "facts": asdict(facts)}, indent=2))
    else:
        _draw(document.spec, facts, faults, output_console())
    return door.FAILED if faults else door.OK


def _draw(spec: Spec, facts: Facts, faults: tuple[Finding, ...], console: Console) -> None:
    console.print(Text(f"pool {facts.pool.name or facts.pool.uuid}, master {facts.pool.master}", "bold"))
    console.print(_draw_hosts(spec, facts))
    console.print()
    if facts.ceph is not None:
        console.print(_draw_ceph(facts.ceph), soft_wrap=True)
        console.print()
    console.print(_draw_srs(spec, facts))
    console.print()
    if not faults:
        console.print(Text("healthy", "bold green"))
    for fault in faults:
        console.print(Text.assemble(("✗ ", "bold red"), fault.what, (f"  → {fault.remedy}", "dim")), soft_wrap=True)


def _draw_hosts(spec: Spec, facts: Facts) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    own = ("storage VM", "address", "daemons") if spec.ceph.existing is None else ()
    for title in ("host", "state", "kernel", *own):
        table.add_column(title)
    for host in spec.hosts:
        seen, vm = facts.host(host.name), facts.storage_vm(host.name)
        state = "not in the pool" if seen is None else "live" if seen.live else "not live"
        kernel = seen.dom0.kernel if seen and seen.dom0 else ""
        power = "none" if vm is None else vm.power_state if vm.guest or vm.power_state != "Running" else "silent"
        cells = (power, str(host.storage_vm.address), _daemons(facts.ceph, host.name)) if own else ()
        table.add_row(host.name, state, kernel, *cells)
    return table


def _daemons(ceph: Ceph | None, host: str) -> str:
    if ceph is None:
        return ""
    mons = [f"mon{'' if mon.in_quorum else ' (out of quorum)'}" for mon in ceph.mons if mon.name.endswith(f"-{host}")]
    mgrs = [f"mgr{' (active)' if mgr.active else ''}" for mgr in ceph.mgrs if mgr.host.endswith(f"-{host}")]
    osds = [f"osd.{osd.id}{'' if osd.up else ' (down)'}" for osd in ceph.osds if osd.host.endswith(f"-{host}")]
    return ", ".join(mons + mgrs + osds)


def _draw_ceph(ceph: Ceph) -> Text:
    if ceph.unreachable:
        return Text(f"Ceph {ceph.fsid}: {ceph.unreachable}", "red")
    style = {"HEALTH_OK": "green", "HEALTH_WARN": "yellow"}.get(ceph.health, "red")
    quorum, up = sum(mon.in_quorum for mon in ceph.mons), sum(osd.up for osd in ceph.osds)
    used = f"{format_size(ceph.used_bytes)} of {format_size(ceph.total_bytes)} used"
    text = Text.assemble("Ceph ", (ceph.health, style))
    text.append(f"  {quorum}/{len(ceph.mons)} mons in quorum, {up}/{len(ceph.osds)} OSDs up, {used}")
    text.append(f", {ceph.clean_pgs}/{ceph.pgs} placement groups clean")
    for check in ceph.health_checks:
        text.append(f"\n  {check}", style)
    return text


def _draw_srs(spec: Spec, facts: Facts) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("SR", "type", "plugged on", "used", "size", ""):
        table.add_column(title)
    for wanted in spec.srs:
        sr = sr_named(facts, wanted.name)
        if sr is None:
            table.add_row(wanted.name, wanted.type, "not there")
            continue
        plugged = ", ".join(sorted(pbd.host for pbd in sr.pbds if pbd.attached)) or "no host"
        used, size = format_size(sr.physical_utilisation_bytes), format_size(sr.physical_size_bytes)
        table.add_row(sr.name, sr.type, plugged, used, size, "default" if facts.pool.default_sr == sr.uuid else "")
    return table
