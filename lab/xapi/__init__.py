"""The stand-in toolstack: the part of xapi that Shoal meets, held to the published XenAPI data model.

One process a host. The first host's owns the pool's database; the others pass on what their local socket gets, do for
it what must be done in their own dom0, and answer HOST_IS_SLAVE, as xapi does. What it serves, it serves as xapi would:
wire formats, error codes, order of checks. What it does in dom0 is real: SM driver executables, `xl`, plugins.

    web            HTTP: XML-RPC, JSON-RPC, raw disk import, the wire between the hosts
    protocols      XML-RPC and JSON-RPC to calls and back
    codec          values of the data model's types on the wire
    model          kinds of objects, their fields and calls; `classes/` has one module per kind
    implicit       the calls that every kind has: getters, setters, records
    database       the pool's objects
    toolstack      one host's xapi: dispatch, sessions, tasks
    sm             storage operations as driver requests (the pool's side)
    attached       disks in dom0 for a while: `copying` and `imports` have their content moved there by `transfer`
    agent          what only the host itself can do: drivers, VMs, plugins (the host's side)
    startup        what happens in which order when a toolstack starts

It must know nothing of Shoal.
"""
