"""Plugs this host's PBDs that lie on given devices. The toolstack does so by itself only once, when it starts."""

import os

from .deadline import Deadline
from .errors import SRError
from .xapi import Xapi, ignore_gone

INVENTORY = "/etc/xensource-inventory"
STARTED = "/var/run/xapi_init_complete.cookie"  # the toolstack has tried all PBDs, and does not again
CALL_TIMEOUT_S = 30.0
PLUG_TIMEOUT_S = 300.0


def plug(devices):
    """What could not be plugged, a line each. A device that no PBD names is nobody's yet, and well so."""
    if not os.path.exists(STARTED):
        return ["the toolstack has not started yet"]
    # As root of this host: its local socket asks for no password, on a member, too.
    session = Xapi("root", Deadline(CALL_TIMEOUT_S)).call("session.login_with_password", "", "1.0", "shoal")
    try:
        return _plug_all(session, devices)
    finally:
        Xapi(session, Deadline(CALL_TIMEOUT_S)).call("session.logout")


def _plug_all(session, devices):
    xapi = Xapi(session, Deadline(CALL_TIMEOUT_S))
    left = []
    for pbd in xapi.call("host.get_PBDs", xapi.call("host.get_by_uuid", host_uuid())):
        record = xapi.call("PBD.get_record", pbd)
        if record["device_config"].get("device") not in devices or record["currently_attached"]:
            continue
        try:
            ignore_gone(Xapi(session, Deadline(PLUG_TIMEOUT_S)).call, "PBD.plug", pbd)
        except SRError as error:
            left.append("PBD %s: %s" % (record["uuid"], error.reason))
    return left


def host_uuid():
    with open(INVENTORY) as file:
        for line in file:
            key, _, value = line.partition("=")
            if key.strip() == "INSTALLATION_UUID":
                return value.strip().strip("'\"")
    raise SRError("%s has no INSTALLATION_UUID" % INVENTORY)
