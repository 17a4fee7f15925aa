"""Calls that xapi makes as tasks of its own: they go on when the keeper ends, and hold up none of its rounds."""

from shoal_dom0.xapi import ignore_gone, is_gone

from .toolstack import Refused

FORGOTTEN = ["the toolstack has started anew meanwhile"]  # which says nothing of what became of it
PHRASE_MAX = 300


def look(call, task):
    """Why it failed: xapi's list of an error and its arguments, empty where it did not fail, FORGOTTEN where nobody knows.

    None while it goes on. The record of one that has ended is removed.
    """
    try:
        record = call("task.get_record", task)
    except Refused as error:
        if not is_gone(error):
            raise
        return FORGOTTEN
    if record["status"] in ("pending", "cancelling"):
        return None
    ignore_gone(call, "task.destroy", task)
    return [] if record["status"] == "success" else record["error_info"] or [record["status"]]


def describe(failure):
    return ", ".join(str(part) for part in failure if part)[:PHRASE_MAX]
