"""The one error that the service answers with. Everything that Ceph raises becomes one of these, in one place."""

from __future__ import annotations

import errno
from typing import Any


class ServiceError(Exception):
    """An answer other than success. `code` is for programs and never changes, `message` is for people."""

    def __init__(self, status: int, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def as_json(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "detail": self.detail}}


def bad_request(message: str) -> ServiceError:
    return ServiceError(400, "bad_request", message)


def not_found(what: str) -> ServiceError:
    return ServiceError(404, "not_found", f"there is no {what}")


def in_use(message: str, **detail: Any) -> ServiceError:
    return ServiceError(409, "in_use", message, **detail)


def exists(message: str) -> ServiceError:
    return ServiceError(409, "exists", message)


def too_deep(message: str) -> ServiceError:
    return ServiceError(409, "too_deep", message)


def ceph_away(message: str) -> ServiceError:
    return ServiceError(503, "ceph_away", message)


# errno → status, code. What is not here is a plain failure of Ceph (502).
_BY_ERRNO = {
    errno.ENOENT: (404, "not_found"),
    errno.EEXIST: (409, "exists"),
    errno.EBUSY: (409, "in_use"),
    errno.EROFS: (409, "in_use"),  # what librbd says when another client keeps the exclusive lock
    errno.ENOSPC: (507, "no_space"),
    errno.EDQUOT: (507, "no_space"),
    errno.EACCES: (403, "forbidden"),
    errno.EPERM: (403, "forbidden"),
    errno.ETIMEDOUT: (503, "ceph_away"),
    errno.ESHUTDOWN: (503, "ceph_away"),
}


def has_errno(error: Exception, number: int) -> bool:
    """Whether an exception of librados or librbd stands for that errno; their signs differ."""
    return bool(abs(getattr(error, "errno", 0) or 0) == number)


def from_ceph(error: Exception, doing: str) -> ServiceError:
    """The answer for an exception of librados or librbd; `doing` says what was asked."""
    number = abs(getattr(error, "errno", 0) or 0)
    status, code = _BY_ERRNO.get(number, (502, "ceph_failed"))
    return ServiceError(status, code, f"{doing}: {error}", errno=number)
