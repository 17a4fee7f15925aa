"""The one error that travels over XenAPI: a code and its parameters."""

from __future__ import annotations


class Failure(Exception):
    """`Failure("HANDLE_INVALID", "VM", ref)`: what a client finds in ErrorDescription."""

    def __init__(self, code: str, *parameters: str) -> None:
        super().__init__(": ".join((code, *parameters)))
        self.code = code
        self.parameters = tuple(str(parameter) for parameter in parameters)

    @property
    def description(self) -> list[str]:
        return [self.code, *self.parameters]


def internal_error(why: str) -> Failure:
    return Failure("INTERNAL_ERROR", why)
