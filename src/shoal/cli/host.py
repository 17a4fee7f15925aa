"""`shoal host`: hosts leave service and come back, in an order that Ceph and the VMs survive."""

from __future__ import annotations

from cyclopts import App

verbs = App(help="Take hosts out of service and bring them back.", help_format="plaintext")
maintenance = App(help="A host rests, and comes back.", help_format="plaintext")
verbs.command(maintenance, name="maintenance")
