"""For how long a claim has been seen on a VM that is off, and with which nothing is done."""


class Claims:
    def __init__(self):
        self._since = {}  # (VM, claim) → uptime at which that was first seen

    def age(self, sight, uptime_s):
        """The sight with each claim's age: that of one with which something is done is 0."""
        idle = {(guest.uuid, guest.claim) for guest in sight.guests if _is_idle(guest)}
        self._since = {each: self._since.get(each, uptime_s) for each in idle}
        guests = (guest._replace(claim_idle_s=self._age_s(guest, uptime_s)) for guest in sight.guests)
        return sight._replace(guests=tuple(guests))

    def _age_s(self, guest, uptime_s):
        return uptime_s - self._since.get((guest.uuid, guest.claim), uptime_s)


def _is_idle(guest):
    return bool(guest.claim) and guest.power_state == "Halted" and not guest.is_busy
