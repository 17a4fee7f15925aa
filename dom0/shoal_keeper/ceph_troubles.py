"""What of Ceph a person must see to. The pool's troubles: the master's keeper tells of them, and no other. Pure.

Of a cluster that is not Shoal's somebody else takes care.
"""

from .state import Trouble

FULL, ERROR, OSD_DOWN, MON_AWAY = (
    "SHOAL_CEPH_FULL", "SHOAL_CEPH_ERROR", "SHOAL_OSD_DOWN", "SHOAL_MONITOR_AWAY",
)  # fmt: skip
FULL_CODES = frozenset(
    {"OSD_NEARFULL", "OSD_BACKFILLFULL", "OSD_FULL", "POOL_NEARFULL", "POOL_BACKFILLFULL", "POOL_FULL", "MON_DISK_CRIT"}
)
FULL_PATIENCE_S = 60.0  # it may be over as soon as data have moved
ERROR_PATIENCE_S = 600.0
AWAY_PATIENCE_S = 900.0  # longer than a host takes to reboot


def judge(seen):
    """(troubles, names of those of which nothing can be said now)."""
    if not (seen.pool.is_master and seen.pool.keeps_ceph):
        return (), frozenset()
    ceph = seen.ceph
    if ceph.silence:
        return (), frozenset({FULL, ERROR, OSD_DOWN, MON_AWAY})
    troubles = []
    full = [check.message for check in ceph.checks if check.code in FULL_CODES]
    if full:
        body = "Ceph is nearly full: %s. Delete disks or snapshots, or add disks (shoal disk add)." % "; ".join(full)
        troubles.append(Trouble(FULL, body, FULL_PATIENCE_S, of_pool=True))
    if ceph.health == "HEALTH_ERR":
        checks = "; ".join("%s: %s" % check for check in ceph.checks)
        troubles.append(Trouble(ERROR, "Ceph says HEALTH_ERR: %s." % checks, ERROR_PATIENCE_S, of_pool=True))
    if seen.resting:  # what is away may be so by intent
        return tuple(troubles), frozenset({OSD_DOWN, MON_AWAY})
    if ceph.osds_down:
        osds = ", ".join("osd.%d in %s" % osd for osd in ceph.osds_down)
        body = "These OSDs stay down: %s. If a disk has failed, replace it (shoal disk replace)." % osds
        troubles.append(Trouble(OSD_DOWN, body, AWAY_PATIENCE_S, of_pool=True))
    if ceph.monitors_away:
        body = "The monitors of these storage VMs take no part: %s. With more than half of them away, all storage stops."
        troubles.append(
            Trouble(MON_AWAY, body % ", ".join(ceph.monitors_away), AWAY_PATIENCE_S, of_pool=True)
        )  # fmt: skip
    return tuple(troubles), frozenset()
