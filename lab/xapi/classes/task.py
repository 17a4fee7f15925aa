"""task: an `Async.` call under way or ended, or one that a client made for an import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

TASK = kind(
    "task",
    """
    uuid                run  string                                        -
    name_label          run  string                                        ""
    name_description    run  string                                        ""
    allowed_operations  run  enum task_allowed_operations set              {}
    current_operations  run  (string -> enum task_allowed_operations) map  {}
    created             run  datetime                                      -
    finished            run  datetime                                      -
    status              run  enum task_status_type                         -
    resident_on         run  host ref                                      -
    progress            run  float                                         -
    type                run  string                                        -
    result              run  string                                        -
    error_info          run  string set                                    -
    other_config        rw   (string -> string) map                        {}
    subtask_of          run  task ref                                      Null
    subtasks            run  task ref set                                  <- subtask_of
    backtrace           run  string                                        "()"
    """,
    persistent=False,
)


@TASK.call("task ref", label="string", description="string")
def create(context: Context, label: str, description: str) -> str:
    return context.toolstack.new_task(label, description)


@TASK.call(self="task ref")
def destroy(context: Context, self: str) -> None:
    context.db.destroy("task", self)


@TASK.call(task="task ref")
def cancel(context: Context, task: str) -> None:
    """The lab's operations cannot be cancelled half-way; a task that a client made is just ended."""
    row = context.db.row("task", task)
    if row["status"] != "pending" or row["name_label"].startswith("Async."):
        raise Failure("OPERATION_NOT_ALLOWED", "this task cannot be cancelled")
    context.db.set("task", task, status="cancelled", finished=now())


@TASK.call(self="task ref", value="enum task_status_type")
def set_status(context: Context, self: str, value: str) -> None:
    context.db.set("task", self, status=value, finished=now())


@TASK.call(self="task ref", value="float")
def set_progress(context: Context, self: str, value: float) -> None:
    context.db.set("task", self, progress=value)


@TASK.call(self="task ref", value="string")
def set_result(context: Context, self: str, value: str) -> None:
    context.db.set("task", self, result=value)


@TASK.call(self="task ref", value="string set")
def set_error_info(context: Context, self: str, value: list[str]) -> None:
    context.db.set("task", self, error_info=value)
