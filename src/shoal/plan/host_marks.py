"""Marks in other_config that say how far a host is on its way out of service and back. Values only."""

from __future__ import annotations

MAINTENANCE_MARK = "shoal:maintenance"  # host: since when; its keeper rests, and it may be away
LEAVING = "leaving "  # in front of that while its VMs move away: one that dies is taken for dead yet
REBOOT_MARK = "shoal:reboot"  # host: id of the boot that is still to end
HOME_MARK = "shoal:home"  # VM: name of the host that it was taken from
WORK_LOCK = "shoal:maintenance-lock"  # pool: who takes hosts out of service, or back
