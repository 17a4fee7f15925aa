"""Ceph, asked inside a running monitor's container by SSH: no Ceph package here, and `cephadm shell` takes seconds.

Any monitor will do: the administrator's key is fetched with the monitor's own key, which lies beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from shoal.clients.ssh import CommandFailed, Completed, Ssh, Unreachable
from shoal.kit.errors import ShoalError, TemporaryError

CONNECT_TIMEOUT_S = 10
HOLD_KEYS = ("auth", "config-key")  # commands whose answers no error may quote
_NO_MON = 69
_NO_KEY = 70

_FIND = "docker ps -q --no-trunc --filter status=running --filter 'name=^/?ceph-[0-9a-f-]+-mon[-.]' | head -n 1"
# $0 is a script for the container, $1 its time in ms, and then come its arguments. Docker ends nothing when its client
# goes: so it is ended inside, and one that Docker starts too late does nothing. Both read the same clock.
_BOUNDED = """ms=$(($0 - $(date +%s%3N))); [ "$ms" -gt 0 ] || exit 124
exec timeout -k 5 "$((ms / 1000)).$(printf %03d $((ms % 1000)))" sh -c "$@" """
_IN_MON = (
    f'end=$(($(date +%s%3N) + $1)); shift; c=$({_FIND}); [ -n "$c" ] || exit {_NO_MON}; '
    f"""exec docker exec -i "$c" sh -c '{_BOUNDED}' "$end" "$0" sh "$@\""""
)
# The keyring exists in this container only, and for as long.
_KEYRING = f"""k=/etc/ceph/ceph.client.admin.keyring
if [ ! -s $k ]; then
  umask 077
  ceph --connect-timeout {CONNECT_TIMEOUT_S} -n mon. -k /var/lib/ceph/mon/*/keyring auth get client.admin \
    -o $k.$$ >/dev/null 2>&1 </dev/null && mv $k.$$ $k || exit {_NO_KEY}
fi
"""
_CEPH = f'{_KEYRING}exec ceph --connect-timeout {CONNECT_TIMEOUT_S} "$@"'
_PYTHON = f'{_KEYRING}exec python3 - /etc/ceph/ceph.conf $k "$@"'
_RBD = f'{_KEYRING}exec rbd "$@"'
_RADOS = f'{_KEYRING}exec rados "$@"'
_NO_OBJECT = "(2) No such file or directory"
_TIMED_OUT, _KILLED = 124, 128 + 9
_LATER_S = 15.0  # after its time it has 5 s to end; and Docker takes its own


class CephUnreachable(TemporaryError):
    """No monitor runs where it was looked for, or the monitors have no quorum."""


class CephTimedOut(CephUnreachable):
    """A command took too long and was ended: it does nothing any more, but may have done what was asked."""


class CephRefused(ShoalError):
    """`ceph`, `rbd` or `rados` ended with an error. `code` is its exit code (an errno), `argv` what it was asked."""

    def __init__(self, argv: Sequence[str], completed: Completed, *, program: str = "ceph") -> None:
        said = completed.stderr.strip().splitlines()
        why = said[-1] if said else f"exit code {completed.code}"
        super().__init__(f"{program} {' '.join(argv)[:200]}: {why}", details="\n".join(said[-10:]))
        self.argv, self.code = tuple(argv), completed.code


class Ceph:
    """A cluster, seen from one storage VM."""

    def __init__(self, ssh: Ssh) -> None:
        self.ssh = ssh

    async def has_mon(self) -> bool:
        """Whether a monitor runs on this storage VM. False, too, when it does not answer."""
        try:
            done = await self.ssh.run(["sh", "-c", _FIND], timeout_s=10, check=False)
        except ShoalError:
            return False
        return bool(done.stdout.strip())

    async def command(self, argv: Sequence[str], *, timeout_s: float = 30.0, input: bytes | None = None) -> object:
        """`ceph ARGV --format json`, parsed; None when it printed nothing. Secrets go by `input` and `-i -`."""
        text = await self.text([*argv, "--format", "json"], timeout_s=timeout_s, input=input)
        try:
            return json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            # Without the cause, which carries the whole text: that of some commands is a key.
            details = "" if argv[0] in HOLD_KEYS else text[:500]
            raise ShoalError(f"ceph {' '.join(argv)[:200]} printed no JSON", details=details) from None

    async def commands(self, many: Sequence[Sequence[str]], *, timeout_s: float = 60.0) -> list[object]:
        """Several, one after the other on one kept connection; the first refusal ends it."""
        return [await self.command(argv, timeout_s=timeout_s) for argv in many]

    async def text(self, argv: Sequence[str], *, timeout_s: float = 30.0, input: bytes | None = None) -> str:
        """`ceph ARGV` and what it printed. For what is a secret, wrap the result at once."""
        done = await self._in_mon(_CEPH, argv, timeout_s, input)
        if done.code != 0 and done.stderr.rstrip().lower().endswith("timed out"):
            raise CephUnreachable(f"ceph {' '.join(argv)[:200]}: no quorum within {CONNECT_TIMEOUT_S} s")
        if done.code != 0:
            raise CephRefused(argv, done)
        return done.stdout

    async def rbd(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> str:
        """`rbd ARGV` and what it printed. It waits for placement groups that are not active."""
        done = await self._in_mon(_RBD, argv, timeout_s, None)
        if done.code != 0:
            raise CephRefused(argv, done, program="rbd")
        return done.stdout

    async def read_object(self, pool: str, namespace: str, name: str, *, timeout_s: float = 60.0) -> str | None:
        """What a small object holds, None if there is none. It waits for placement groups that are not active."""
        argv = ["--pool", pool, *(["--namespace", namespace] if namespace else []), "get", name, "-"]
        done = await self._in_mon(_RADOS, argv, timeout_s, None)
        if done.code != 0 and done.stderr.rstrip().endswith(_NO_OBJECT):
            return None
        if done.code != 0:
            raise CephRefused(argv, done, program="rados")
        return done.stdout

    async def python(self, source: bytes, argv: Sequence[str] = (), *, timeout_s: float) -> str:
        """Run a Python program beside the monitor (librados is there) and return what it printed.

        Its arguments are the paths of ceph.conf and of the administrator's keyring, and then `argv`.
        """
        done = await self._in_mon(_PYTHON, argv, timeout_s, source)
        if done.code != 0:
            raise CommandFailed(self.ssh.name, ["python3", "-"], done)
        return done.stdout

    async def _in_mon(self, script: str, argv: Sequence[str], timeout_s: float, data: bytes | None) -> Completed:
        """Ended when its time is over, whatever becomes of this end."""
        command = ["sh", "-c", _IN_MON, script, str(math.ceil(timeout_s * 1000)), *argv]
        try:
            done = await self.ssh.run(command, timeout_s=timeout_s + _LATER_S, input=data, check=False)
        except Unreachable as error:
            raise CephUnreachable(f"Ceph cannot be asked: {error.brief}", details=error.details) from error
        if done.code == _NO_MON:
            raise CephUnreachable(f"no monitor runs on the {self.ssh.name}")
        if done.code == _NO_KEY:
            raise CephUnreachable(f"the monitor on the {self.ssh.name} gives no key: it has no quorum")
        if done.code in (_TIMED_OUT, _KILLED):
            asked = " ".join(argv)[:200]
            why = f"no answer within {timeout_s:g} s" if done.code == _TIMED_OUT else "killed, for time or memory"
            raise CephTimedOut(f"Ceph, asked on the {self.ssh.name}: {asked}: {why}")
        return done
