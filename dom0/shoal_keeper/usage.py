"""How full Shoal's SRs are, as Ceph counts it, kept up to date in XenAPI by the master's keeper.

Thin disks grow while guests write, and no call of the toolstack's is made then: xapi asks a driver for these figures only when
a PBD is plugged, or somebody asks for a scan or an update (xapi_sr.ml).
"""

from . import tasks

EVERY_S = 300.0
BEATEN = ("OTHER_OPERATION_IN_PROGRESS", "HANDLE_INVALID", "SR_HAS_NO_PBDS")  # somebody is at it, or it has just gone


class Usage:
    """Each update is a task, so that one that takes its time delays no round; the next one waits for its end."""

    def __init__(self, toolstack):
        self._call = toolstack.call
        self._due_at = {}  # SR → uptime
        self._tasks = {}  # SR → (task, the SR's name)

    def update(self, seen):
        """Says what failed."""
        said = [text for sr in sorted(self._tasks) for text in self._end(sr)]
        if not seen.pool.is_master or seen.pool.apply_at_work or seen.host.told_to_rest or seen.ceph.silence:
            return said
        for pbd in seen.pbds:
            if not pbd.attached or pbd.pool_silence or pbd.sr in self._tasks:
                continue
            if seen.uptime_s >= self._due_at.setdefault(pbd.sr, seen.uptime_s + EVERY_S):
                self._due_at[pbd.sr] = seen.uptime_s + EVERY_S
                self._tasks[pbd.sr] = (self._call("Async.SR.update", pbd.sr), pbd.sr_name)
        return said

    def _end(self, sr):
        task, name = self._tasks[sr]
        failure = tasks.look(self._call, task)
        if failure is None:
            return
        del self._tasks[sr]
        if failure and failure is not tasks.FORGOTTEN and failure[0] not in BEATEN:
            yield "cannot tell how full SR %s is: %s" % (name, tasks.describe(failure))
