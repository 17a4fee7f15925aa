"""Tells people what needs them, as XenAPI messages: each once, when it has lasted, and takes it back when it is over."""

from shoal_dom0.xapi import ignore_gone

PREFIX = "SHOAL_"
PRIORITY = "3"  # of 1 to 5, 1 is the most urgent: service is degraded
FOREVER = "19700101T00:00:00Z"


class Alerts:
    """A message that a person dismisses is not raised again while the same trouble lasts."""

    def __init__(self, toolstack):
        self._toolstack = toolstack
        self._since = {}  # key → uptime at which the trouble began
        self._raised = None  # key → ref; None before the first look

    def update(self, troubles, seen):
        """Raise and take back. Says what was done."""
        wanted = {self._key(trouble, seen): trouble for trouble in troubles}
        self._since = {key: self._since.get(key, seen.uptime_s) for key in wanted}
        if self._raised is None:
            self._raised = self._find(seen)
        said = []
        for key, trouble in wanted.items():
            if key not in self._raised and seen.uptime_s - self._since[key] >= trouble.patience_s:
                kind, uuid, name = key
                self._raised[key] = self._toolstack.call("message.create", name, PRIORITY, kind, uuid, trouble.body)
                said.append("raises %s" % name)
        for key in [key for key in self._raised if key not in wanted]:
            ignore_gone(self._toolstack.call, "message.destroy", self._raised[key])
            del self._raised[key]
            said.append("takes back %s" % key[2])
        return said

    def _find(self, seen):
        """What an earlier run has raised, of this host and (if it is the master) of the pool."""
        places = [("Host", seen.host.uuid)] + ([("Pool", seen.pool.uuid)] if seen.pool.is_master else [])
        found = {}
        for kind, uuid in places:
            for ref, message in self._toolstack.call("message.get", kind, uuid, FOREVER).items():
                if message["name"].startswith(PREFIX):
                    found[kind, uuid, message["name"]] = ref
        return found

    def _key(self, trouble, seen):
        if trouble.of_pool:
            return "Pool", seen.pool.uuid, trouble.name
        return "Host", seen.host.uuid, trouble.name
