"""XenAPI over JSON-RPC: calls, tasks, disk images in and out, on the pool's master and by a pinned certificate.

Must not know what Shoal wants of the pool. Nothing is repeated that may have been carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from shoal.clients.https import ConnectionBroken, HttpsPool
from shoal.clients.pins import Pins
from shoal.clients.raw_export import receive_image
from shoal.clients.raw_import import Part, send_image
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.secret import Secret

CALL_TIMEOUT_S = 60.0
TASK_OUTAGE_S = 20.0
"""So long a task is still asked for after the toolstack went silent."""

Record = dict[str, object]


class XenApiError(ShoalError):
    """The toolstack refused a call. `code` and `params` are XenAPI's own."""

    def __init__(self, method: str, code: str, params: tuple[str, ...]) -> None:
        super().__init__(f"{method}: {code}", details="\n".join(params))
        self.method, self.code, self.params = method, code, params


class ToolstackUnreachable(TemporaryError):
    """No answer from the toolstack. If a request had been sent by then, it may or may not have been carried out."""


class TaskTimedOut(TemporaryError):
    """An asynchronous call did not end in time; it was asked to stop."""


class LoginRefused(ShoalError):
    """User or password are wrong."""


class XenApi:
    """One session with a pool. Logs in at the first call, again when the session has gone, out at `close`."""

    def __init__(self, url: str, user: str, password: Secret, *, pins: Pins, fingerprint: str | None = None) -> None:
        self.url = url
        self.master_address = urlsplit(url).hostname or url
        self.redirected_from: str | None = None
        """The address in the spec, if it turned out to be a member's; `master_address` is the master's."""
        self._user, self._password, self._pins = user, password, pins
        self._https = HttpsPool(self.master_address, urlsplit(url).port or 443, pins=pins, fingerprint=fingerprint)
        self._session: str | None = None
        self._logging_in = asyncio.Lock()

    async def login(self) -> None:
        """Log in on the master, following HOST_IS_SLAVE once. Idempotent."""
        async with self._logging_in:
            if self._session is not None:
                return
            try:
                try:
                    self._session = await self._try_login()
                except XenApiError as error:
                    if error.code != "HOST_IS_SLAVE" or not error.params:
                        raise
                    self._follow(error.params[0])
                    self._session = await self._try_login()
            except ToolstackUnreachable as error:
                error.where = "pool.url"
                raise

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ShoalError):  # the toolstack forgets idle sessions by itself
                await self._request("session.logout", [session], timeout_s=5)
        self._https.close()

    async def call(self, method: str, *params: object, timeout_s: float = CALL_TIMEOUT_S) -> object:
        """Call with this session. Secret values among the params are sent, and never shown. Numbers go as strings."""
        for last in (False, True):
            await self.login()
            session = self._session
            try:
                return await self._request(method, [session, *params], timeout_s=timeout_s)
            except XenApiError as error:
                # A session unknown to the toolstack (it was restarted), or another host has become the master: nothing
                # was done, so once more.
                if last or error.code not in ("SESSION_INVALID", "HOST_IS_SLAVE"):
                    raise
                if self._session == session:
                    self._session = None
        raise AssertionError("unreachable code")

    async def text(self, method: str, *params: object) -> str:
        """A call whose result is a ref, an uuid or any other string."""
        return str(await self.call(method, *params))

    async def record(self, kind: str, ref: str) -> Record:
        return _record(await self.call(f"{kind}.get_record", ref))

    async def records(self, kind: str) -> dict[str, Record]:
        """All records of a class, by ref."""
        found = await self.call(f"{kind}.get_all_records")
        return {ref: _record(record) for ref, record in _record(found).items()}

    async def call_async(
        self,
        method: str,
        *params: object,
        timeout_s: float,
        progress: Callable[[float], None] | None = None,
    ) -> str:
        """Run `Async.<method>` to its end and return its result. The task is always destroyed."""
        task = await self.text(f"Async.{method}", *params)
        return await self.wait_task(task, method, timeout_s=timeout_s, progress=progress)

    async def wait_task(
        self, task: str, what: str, *, timeout_s: float, progress: Callable[[float], None] | None = None
    ) -> str:
        ended = False
        try:
            record = await self._ended_task(task, what, time.monotonic() + timeout_s, progress)
            ended = True
        finally:
            await self._forget_task(task, cancel=not ended)
        if record["status"] == "success":
            return _task_result(str(record.get("result") or ""))
        code, *rest = _strings(record.get("error_info")) or [f"task {record['status']}"]
        raise XenApiError(what, code, tuple(rest))

    async def set_pbd_config(self, sr_ref: str, pbd_ref: str, config: Mapping[str, str]) -> None:
        """Change a PBD in place. xapi takes that from the SR's driver alone, and knows its session by this key."""
        await self.login()
        session, key = self._session, "_sm_session"
        await self.call("session.remove_from_other_config", session, key)
        await self.call("session.add_to_other_config", session, key, sr_ref)
        try:
            await self.call("PBD.set_device_config", pbd_ref, config)
        finally:
            await self.call("session.remove_from_other_config", session, key)

    async def import_vdi(
        self,
        vdi_ref: str,
        source: Path,
        *,
        host_address: str,
        progress: Callable[[int, int], None],
        part: Part | None = None,
    ) -> None:
        """Send a raw image, or a part of it, to a VDI, on a host that has its SR plugged.

        Holes and zeros are not sent, so the VDI must be fresh, or hold what an earlier sending of the same file left.
        `progress` gets bytes sent and bytes to send, from another thread.
        """

        def send(https: HttpsPool, path: str) -> None:
            send_image(https, path, source, progress, part)

        query = {"vdi": vdi_ref, "format": "raw", "chunked": "true"}
        await self._transfer("import_raw_vdi", query, host_address, f"import of {source.name}", send)

    async def export_vdi(
        self,
        vdi_ref: str,
        target: Path,
        *,
        size_bytes: int,
        host_address: str,
        progress: Callable[[int, int], None],
    ) -> None:
        """Write a VDI to a file, which is made anew. Cannot be continued: xapi exports a disk from its beginning."""

        def receive(https: HttpsPool, path: str) -> None:
            receive_image(https, path, target, size_bytes, progress)

        query = {"vdi": vdi_ref, "format": "raw"}
        await self._transfer("export_raw_vdi", query, host_address, f"export to {target.name}", receive)

    async def _transfer(
        self,
        handler: str,
        query: dict[str, str],
        host_address: str,
        what: str,
        work: Callable[[HttpsPool, str], None],
    ) -> None:
        """One request to a host's HTTP handler, with a task that says what became of it."""
        await self.login()
        task = await self.text("task.create", f"Shoal: {what}", "")
        path = f"/{handler}?{urlencode({'session_id': self._session, 'task_id': task, **query})}"
        https = self._https_of(host_address)
        try:
            await https.in_thread(lambda: work(https, path))
        except ConnectionBroken as error:
            # The reason is in the task, if the toolstack still knows it.
            await self._raise_task_error(task, handler)
            raise ToolstackUnreachable(f"{host_address} broke off the {what}: {error}") from error
        except BaseException:
            await self._forget_task(task, cancel=True)
            raise
        finally:
            https.close()
        await self.wait_task(task, handler, timeout_s=120)

    def _https_of(self, host_address: str) -> HttpsPool:
        """Connections of their own to a host; the master is at the port that it was found at."""
        if host_address == self._https.address:
            return HttpsPool(host_address, self._https.port, pins=self._pins)
        place = urlsplit(f"https://{host_address}")
        return HttpsPool(place.hostname or host_address, place.port or 443, pins=self._pins)

    async def _try_login(self) -> str:
        params = [self._user, self._password, "1.0", "shoal"]
        try:
            return str(await self._request("session.login_with_password", params, timeout_s=CALL_TIMEOUT_S))
        except XenApiError as error:
            if error.code == "SESSION_AUTHENTICATION_FAILED":
                raise LoginRefused(
                    f"the pool at {self.master_address} refuses {self._user}'s password",
                    resolution="Check `pool.user` and `pool.password` in the spec.",
                    where="pool.password",
                ) from None
            raise

    def _follow(self, master: str) -> None:
        self._https.close()
        self.redirected_from, self.master_address = self.master_address, master
        self._https = HttpsPool(master, 443, pins=self._pins)

    async def _request(self, method: str, params: list[object], *, timeout_s: float) -> object:
        secrets: set[str] = set()
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": _plain(params, secrets)}
        try:
            answer = await self._https.post_json("/jsonrpc", body, timeout_s=timeout_s, repeatable=_only_reads(method))
        except ConnectionBroken as error:
            raise ToolstackUnreachable(
                f"the toolstack of {self._https.address} does not answer ({method}): {error}",
                resolution="Check that the host is up, and `systemctl status xapi` there.",
            ) from error
        if not isinstance(answer, dict):
            raise ToolstackUnreachable(f"the toolstack of {self._https.address} answered no JSON-RPC to {method}")
        if answer.get("error") is not None:
            raise _refusal(method, answer["error"], secrets)
        if "result" not in answer:
            raise ToolstackUnreachable(f"the toolstack of {self._https.address} answered no JSON-RPC to {method}")
        return answer["result"]

    async def _ended_task(
        self, task: str, what: str, deadline: float, progress: Callable[[float], None] | None
    ) -> Record:
        pause_s, last_answer = 0.05, time.monotonic()
        while True:
            try:
                record = await self.record("task", task)
                last_answer = time.monotonic()
            except ToolstackUnreachable:
                if time.monotonic() > min(deadline, last_answer + TASK_OUTAGE_S):
                    raise
            else:
                if record.get("status") not in ("pending", "cancelling"):
                    return record
                if progress is not None:
                    progress(float(str(record.get("progress") or 0)))
            if time.monotonic() > deadline:
                raise TaskTimedOut(f"{what} did not end in time; the toolstack was asked to stop it")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.5)

    async def _forget_task(self, task: str, *, cancel: bool) -> None:
        with contextlib.suppress(ShoalError):  # it only clears up; what matters is raised by the caller
            await self.call("task.cancel" if cancel else "task.destroy", task, timeout_s=5)

    async def _raise_task_error(self, task: str, handler: str) -> None:
        await asyncio.sleep(0.2)
        record = await self.record("task", task)
        if record.get("status") == "failure":
            await self._forget_task(task, cancel=False)
            code, *rest = _strings(record.get("error_info")) or ["INTERNAL_ERROR"]
            raise XenApiError(handler, code, tuple(rest))
        await self._forget_task(task, cancel=True)


def _plain(value: object, secrets: set[str]) -> object:
    """The value as XenAPI takes it: numbers as strings, secrets revealed (and collected, to be kept out of errors)."""
    if isinstance(value, Secret):
        secrets.add(value.reveal())
        return value.reveal()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, secrets) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _refusal(method: str, error: object, secrets: set[str]) -> XenApiError:
    error = error if isinstance(error, dict) else {"message": str(error)}
    params = _strings(error.get("data"))

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "…") if secret else text
        return text

    return XenApiError(method, hide(str(error.get("message"))), tuple(hide(param) for param in params))


def _only_reads(method: str) -> bool:
    name = method.split(".")[-1]
    return name.startswith("get_") or method.startswith("session.login")


def _task_result(text: str) -> str:
    """A task's result is XML-RPC: `<value>OpaqueRef:…</value>`, or empty for none."""
    inside = re.fullmatch(r"\s*<value>(?:<string>)?(.*?)(?:</string>)?</value>\s*", text, re.DOTALL)
    return html.unescape(inside[1]) if inside else text


def _record(value: object) -> Record:
    if not isinstance(value, dict):
        raise ToolstackUnreachable("the toolstack answered something else than a record")
    return value


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
