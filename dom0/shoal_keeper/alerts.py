"""Tells people what needs them, as XenAPI messages: each once, when it has lasted, and takes it back when it is over."""

from shoal_dom0.xapi import ignore_gone

PREFIX = "SHOAL_"
PRIORITY = "3"  # of 1 to 5, 1 is the most urgent: service is degraded
FOREVER = "19700101T00:00:00Z"
LOOK_AGAIN_S = 600.0  # another keeper may have raised one of this host, which it took for dead
BODY_MAX = 2000


class Alerts:
    """A message that a person dismisses is not raised again while the same trouble lasts."""

    def __init__(self, toolstack):
        self._call = toolstack.call
        self._since = {}  # key → uptime at which the trouble began
        self._raised = {}  # key → refs
        self._was_master = False
        self._look_at = 0.0

    def update(self, decision, seen):
        """Raise and take back. Says what was done."""
        self._look(seen)
        wanted = self._merge(decision.troubles, seen)
        kept = {key for key in set(self._since) | set(self._raised) if key[0] == "Pool" and key[2] in decision.unjudged}
        self._since = {key: self._since.get(key, seen.uptime_s) for key in set(wanted) | (kept & set(self._since))}
        said = []
        for key, trouble in wanted.items():
            if key not in self._raised and seen.uptime_s - self._since[key] >= trouble.patience_s:
                kind, uuid, name = key
                self._raised[key] = {create(self._call, kind, uuid, name, trouble.body)}
                said.append("raises %s" % name)
        for key in [key for key in self._raised if key not in wanted and key not in kept]:
            for ref in self._raised[key]:
                ignore_gone(self._call, "message.destroy", ref)
            del self._raised[key]
            said.append("takes back %s" % key[2])
        return said

    def _merge(self, troubles, seen):
        """One for each name: it tells of all VMs, or SRs, of which the same is true."""
        wanted = {}
        for trouble in troubles:
            key = ("Pool", seen.pool.uuid, trouble.name) if trouble.of_pool else ("Host", seen.host.uuid, trouble.name)
            if key in wanted:
                patience_s = min(trouble.patience_s, wanted[key].patience_s)
                trouble = trouble._replace(body=wanted[key].body + "\n" + trouble.body, patience_s=patience_s)
            wanted[key] = trouble
        return wanted

    def _look(self, seen):
        """What is there already: raised by an earlier run, by the master before this one, or by others about this host."""
        is_new_here = seen.pool.is_master != self._was_master
        if seen.uptime_s < self._look_at and not is_new_here:
            return
        if not seen.pool.is_master:
            self._raised = {key: refs for key, refs in self._raised.items() if key[0] != "Pool"}
        places = [("Host", seen.host.uuid)] + ([("Pool", seen.pool.uuid)] if seen.pool.is_master else [])
        for kind, uuid in places:
            for name, refs in find(self._call, kind, uuid).items():
                self._raised.setdefault((kind, uuid, name), set()).update(refs)
        self._look_at, self._was_master = seen.uptime_s + LOOK_AGAIN_S, seen.pool.is_master


def create(call, kind, uuid, name, body):
    return call("message.create", name, PRIORITY, kind, uuid, body[:BODY_MAX])


def find(call, kind, uuid):
    """Shoal's messages about something: name → refs."""
    found = {}
    for ref, message in call("message.get", kind, uuid, FOREVER).items():
        if message["name"].startswith(PREFIX):
            found.setdefault(message["name"], set()).add(ref)
    return found
