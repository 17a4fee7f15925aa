"""The door: one call of xapi in, one answer out, and always exit code 0 (xapi takes any other for a crash).

Every error becomes a fault with a number of SM's; nothing but the answer goes to stdout. What the commands do is in
`driver`.
"""

import gc
import sys

from . import xmlrpc
from .errors import BadRequest, SRError


def main(argv):
    gc.disable()  # the process ends long before it would have anything to collect
    answer = _answer(argv)
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    return 0


def _answer(argv):
    from . import log

    command = "?"
    try:
        if len(argv) != 2:
            raise BadRequest("the request belongs in the one argument")
        command, request = _read(argv[1])
        from . import driver

        value = driver.run(command, request)
        log.info("%s %s: done" % (command, request.get("vdi_uuid") or request.get("sr_uuid") or ""))
        return xmlrpc.write_answer(value)
    except SRError as error:
        log.error("%s: %d %s" % (command, error.code, error.reason))
        return xmlrpc.write_fault(error.code, error.reason)
    except Exception as error:  # a bug of ours must reach xapi as a fault as well
        log.bug(error)
        return xmlrpc.write_fault(202, "%s in the rbd driver; see /var/log/SMlog" % type(error).__name__)


def _read(text):
    method, params = xmlrpc.read_call(text)
    if len(params) != 1 or not isinstance(params[0], dict):
        raise BadRequest("%s: one struct is expected" % method)
    request = params[0]
    for name, kind in (("device_config", dict), ("args", list)):
        if not isinstance(request.get(name, kind()), kind):
            raise BadRequest("%s: %s has the wrong type" % (method, name))
    return method, request
