"""The toolstack's plugin `xscontainer`: start, stop and restart of a container of a storage VM, as XenCenter calls them.

One call in argv, one answer on stdout. It forwards to the host where the storage VM runs, whose own container service
does it. What the other functions of that name do is not done.
"""

import re
import sys

from shoal_dom0 import names, xapi, xmlrpc
from shoal_dom0.deadline import Deadline
from shoal_dom0.errors import BadRequest, SRError

from . import containers
from .observe import HOST_MARK, own_uuid

FUNCTIONS = ("start", "stop", "restart")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
CHANGE_TIMEOUT_S = 180.0  # longer than the limits of the service together
FORWARD_TIMEOUT_S = 210.0
PLUGIN = "xscontainer"


class Unwilling(Exception):
    """Refused; the text says why."""


def main(argv):
    sys.stdout.buffer.write(_answer(argv).encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    return 0


def _answer(argv):
    function = "?"
    try:
        function, session, arguments = _read(argv)
        if function not in FUNCTIONS:
            return _failure(["UNKNOWN_XENAPI_PLUGIN_FUNCTION", function])
        return xmlrpc.write_answer({"Status": "Success", "Value": _run(function, session, arguments)})
    except xapi.XenAPIError as error:  # the other host's plugin has said why, or xapi itself
        return _failure(error.failure)
    except (Unwilling, containers.Silent, SRError) as error:
        return _failure(["XENAPI_PLUGIN_FAILURE", function, type(error).__name__, str(error)])
    except Exception as error:  # a bug of ours must reach the caller in the same way; its text might quote the session
        return _failure(["XENAPI_PLUGIN_FAILURE", function, type(error).__name__, "a bug of Shoal's container plugin"])


def _failure(description):
    return xmlrpc.write_answer({"Status": "Failure", "ErrorDescription": description})


def _read(argv):
    if len(argv) != 2:
        raise BadRequest("the call belongs in the one argument")
    function, params = xmlrpc.read_call(argv[1])
    if len(params) != 2 or not isinstance(params[0], str) or not isinstance(params[1], dict):
        raise BadRequest("a session and a map are expected")
    return function, params[0], params[1]


def _run(function, session, arguments):
    vm_uuid, container = arguments.get("vmuuid"), arguments.get("container")
    if not isinstance(vm_uuid, str) or not names.is_uuid(vm_uuid):
        raise Unwilling("vmuuid is not a uuid")
    if not isinstance(container, str) or not NAME.match(container):
        raise Unwilling("container is not the name or the id of a container")
    call = xapi.Xapi(session, Deadline(FORWARD_TIMEOUT_S)).call
    vm = call("VM.get_by_uuid", vm_uuid)
    record = call("VM.get_record", vm)
    if HOST_MARK not in record["other_config"]:
        raise Unwilling("%s is not a storage VM of Shoal's" % record["name_label"])
    if record["power_state"] != "Running":
        raise Unwilling("%s does not run" % record["name_label"])
    if record["resident_on"] != call("host.get_by_uuid", own_uuid()):
        return call("host.call_plugin", record["resident_on"], PLUGIN, function, arguments)
    if record["other_config"][HOST_MARK] != call("host.get_name_label", record["resident_on"]):
        raise Unwilling("%s is not the storage VM of the host that it runs on" % record["name_label"])
    endpoint = containers.own_endpoint()
    if endpoint is None:
        raise Unwilling("this host knows no storage VM of its own: shoal apply")
    containers.ask(endpoint, "POST", "/v1/containers/%s/%s" % (container, function), CHANGE_TIMEOUT_S)
    _renew(call, vm, endpoint)
    return "True"


def _renew(call, vm, endpoint):
    """So that the caller sees it at once. It is done, whether this works or not: the keeper looks again soon."""
    try:
        containers.write(call, vm, containers.look(endpoint))
    except (containers.Silent, SRError):
        pass
