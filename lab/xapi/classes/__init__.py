"""The kinds of objects, one module each: the table of fields, then the calls that do more than a field's get and set.

`CALLS` is all that the stand-in serves.
"""

from __future__ import annotations

from lab.xapi.classes import (  # noqa: F401  each registers its kind
    console,
    event,
    host,
    host_metrics,
    message,
    network,
    pbd,
    pif,
    pool,
    secret,
    session,
    sm_record,
    sr,
    task,
    vbd,
    vdi,
    vdi_copies,
    vdi_states,
    vif,
    vm,
    vm_copies,
    vm_metrics,
)
from lab.xapi.implicit import add_implicit_calls
from lab.xapi.model import KINDS, Call

for kind in KINDS.values():
    add_implicit_calls(kind)

CALLS: dict[str, Call] = {call.name: call for kind in KINDS.values() for call in kind.calls.values()}
