"""This host's xapi, over its local socket, where root needs no password. Every call is bounded in time.

On a member xapi passes calls on to the master: when that is away, calls fail, and the keeper says so and looks again.
"""

from shoal_dom0.deadline import Deadline
from shoal_dom0.errors import SRError
from shoal_dom0.xapi import Xapi, XenAPIError

CALL_TIMEOUT_S = 20.0
USER, VERSION, ORIGINATOR = "root", "1.0", "shoal-keeper"

Refused = XenAPIError
Unreachable = SRError  # Refused is one, too: catch that first


class Toolstack:
    def __init__(self):
        self._session = None
        self.timeout_s = CALL_TIMEOUT_S

    def call(self, method, *params):
        """The call's value. A session that xapi has forgotten is replaced, and the call made once more."""
        if self._session is None:
            self._session = self._log_in()
        try:
            return self._ask(self._session, method, params)
        except XenAPIError as error:
            if error.failure[0] != "SESSION_INVALID":
                raise
            self._session = self._log_in()
            return self._ask(self._session, method, params)

    def log_out(self):
        if self._session is not None:
            session, self._session = self._session, None
            self._ask(session, "session.logout", ())

    def become_driver_of(self, sr):
        """xapi takes changes of a PBD's device_config from the SR's driver alone, and knows its session by this key."""
        self.call("session.remove_from_other_config", self._session, "_sm_session")
        self.call("session.add_to_other_config", self._session, "_sm_session", sr)

    def cease_to_be_driver(self):
        self.call("session.remove_from_other_config", self._session, "_sm_session")

    def _log_in(self):
        # The first parameter of every call is a session, but here: the user.
        return self._ask(USER, "session.login_with_password", ("", VERSION, ORIGINATOR))

    def _ask(self, session, method, params):
        return Xapi(session, Deadline(self.timeout_s)).call(method, *params)
