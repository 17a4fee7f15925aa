"""session: who may call. The local socket of a dom0 needs no password; a member sends everyone else to the master."""

from __future__ import annotations

import hmac
import uuid
from typing import TYPE_CHECKING

from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import NULL, kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

SESSION = kind(
    "session",
    """
    uuid                run  string                  -
    this_host           run  host ref                -
    this_user           run  user ref                -
    last_active         run  datetime                -
    pool                run  bool                    -
    other_config        rw   (string -> string) map  {}
    is_local_superuser  run  bool                    false
    auth_user_name      run  string                  ""
    originator          run  string                  ""
    """,
    persistent=False,
)


@SESSION.call("session ref", session=False, uname="string", pwd="string", version="string", originator="string")
def login_with_password(context: Context, uname: str, pwd: str, version: str = "", originator: str = "") -> str:
    if not context.toolstack.settings.is_master:
        raise Failure("HOST_IS_SLAVE", context.toolstack.settings.master_address)
    _check_password(context, uname, pwd)
    values = {
        "this_host": context.toolstack.host_ref(context.caller.host),
        "this_user": NULL,
        "last_active": now(),
        "is_local_superuser": True,
        "auth_user_name": uname,
        "originator": originator,
        "other_config": {"version": version} if version else {},
    }
    return context.db.create("session", values)


@SESSION.call("session ref", session=False, uname="string", pwd="string")
def slave_local_login_with_password(context: Context, uname: str, pwd: str) -> str:
    """A session of this host alone: good for nothing here but to be ended. Real members allow a few emergency calls."""
    _check_password(context, uname, pwd)
    own = f"OpaqueRef:{uuid.uuid4()}"
    context.toolstack.local_sessions.add(own)
    return own


@SESSION.call()
def logout(context: Context) -> None:
    context.db.destroy("session", context.session)


@SESSION.call()
def local_logout(context: Context) -> None:
    context.toolstack.local_sessions.discard(context.session)


def _check_password(context: Context, uname: str, pwd: str) -> None:
    if context.caller.is_local:
        return
    right = context.toolstack.settings.password()
    if uname != "root" or not hmac.compare_digest(pwd.encode(), right.encode()):
        raise Failure("SESSION_AUTHENTICATION_FAILED", uname, "Authentication failure")
