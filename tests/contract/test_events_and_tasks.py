"""Tasks of asynchronous calls, and events."""

from __future__ import annotations

import threading
import time
from typing import Any

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import log_in, make_sr, refused, vdi_record, vm_record


def finish(api: Any, task: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while api.task.get_status(task) == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(api.task.get_record(task))


def test_asynchronous_calls(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    done = finish(api, api.Async.VDI.create(vdi_record(sr)))
    (vdi,) = api.SR.get_VDIs(sr)
    assert (done["status"], done["result"], done["progress"]) == ("success", f"<value>{vdi}</value>", 1.0)
    ended = finish(api, api.Async.VDI.destroy(vdi))
    assert (ended["status"], ended["result"]) == ("success", "")
    failed = finish(api, api.Async.VDI.destroy(vdi))
    assert (failed["status"], failed["error_info"]) == ("failure", ["HANDLE_INVALID", "VDI", vdi])
    assert refused(api.Async.SR.fly, "x")[0] == "MESSAGE_METHOD_UNKNOWN"


def test_one_thing_at_a_time(api: Any, pool: LoopbackPool) -> None:
    """A VM under way to its start refuses a second one."""
    vm = api.VM.create(vm_record())
    held = threading.Event()
    pool.master.guests.start = lambda plan: (held.wait(10), 1)[1]  # type: ignore[method-assign]
    task = api.Async.VM.start(vm, False, False)
    while not api.VM.get_current_operations(vm):
        time.sleep(0.01)
    assert refused(api.VM.start, vm, False, False) == ["OTHER_OPERATION_IN_PROGRESS", "VM", vm, "start"]
    held.set()
    assert finish(api, task)["status"] == "success"


def test_events_tell_what_has_changed(api: Any) -> None:
    batch = getattr(api.event, "from")(["SR", "VM"], "", 0.0)
    assert {event["operation"] for event in batch["events"]} == {"add"}
    assert {event["class"] for event in batch["events"]} == {"sr", "vm"}
    assert batch["valid_ref_counts"]["sr"] == "1"
    vm = api.VM.create(vm_record())
    after = getattr(api.event, "from")(["vm"], batch["token"], 5.0)
    (event,) = after["events"]
    assert (event["operation"], event["ref"], event["snapshot"]["name_label"]) == ("add", vm, "guest")
    assert event["snapshot"]["memory_static_max"] == str(256 * 1024**2)
    api.VM.set_name_label(vm, "renamed")
    changed = getattr(api.event, "from")([f"vm/{vm}"], after["token"], 5.0)
    assert [event["operation"] for event in changed["events"]] == ["mod"]
    api.VM.destroy(vm)
    gone = getattr(api.event, "from")(["*"], changed["token"], 5.0)
    assert ("vm", "del", vm) in {(event["class"], event["operation"], event["ref"]) for event in gone["events"]}
    assert refused(getattr(api.event, "from"), ["*"], "nonsense", 0.0)[0] == "EVENT_FROM_TOKEN_PARSE_FAILURE"


def test_events_are_waited_for(pool: LoopbackPool) -> None:
    watcher, worker = log_in(pool), log_in(pool)
    token = getattr(watcher.event, "from")(["secret"], "", 0.0)["token"]
    threading.Timer(0.3, lambda: worker.secret.create({"value": "x"})).start()
    began = time.monotonic()
    batch = getattr(watcher.event, "from")(["secret"], token, 10.0)
    assert 0.2 < time.monotonic() - began < 5
    assert [event["class"] for event in batch["events"]] == ["secret"]
    began = time.monotonic()
    assert getattr(watcher.event, "from")(["secret"], batch["token"], 0.2)["events"] == []
    assert time.monotonic() - began < 3


def test_secrets_and_messages(api: Any) -> None:
    secret = api.secret.create({"value": "hidden", "other_config": {"a": "b"}})
    assert (api.secret.get_value(secret), api.secret.get_other_config(secret)) == ("hidden", {"a": "b"})
    api.secret.destroy(secret)
    (pool_ref,) = api.pool.get_all()
    own = api.pool.get_uuid(pool_ref)
    message = api.message.create("SHOAL", "3", "Pool", own, "body")
    assert api.message.get_all_records()[message]["priority"] == "3"
    assert list(api.message.get("Pool", own, "19700101T00:00:00Z")) == [message]
    api.message.destroy(message)
    assert api.message.get_all() == []
