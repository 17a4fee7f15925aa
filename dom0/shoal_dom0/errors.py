"""Errors that xapi is told of, under the numbers of SM's own table. A number becomes SR_BACKEND_FAILURE_<number>."""


class SRError(Exception):
    """`reason` says what is wrong and what to do; it never holds a secret."""

    code = 202  # SMGeneral

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class InvalidArgument(SRError):
    code = 1


class InvalidSecret(SRError):
    code = 20


class VDIInUse(SRError):
    code = 24


class SRInUse(SRError):
    code = 16


class LockFailed(SRError):
    """Of no SR's lock: a call that waits for that in vain says that the SR or the disk is not available."""


class NotImplementedHere(SRError):
    code = 38


class SRNotEmpty(SRError):
    code = 39


class ScanFailed(SRError):
    code = 40


class SRExists(SRError):
    code = 42


class VDIExists(SRError):
    code = 43


class NoSpace(SRError):
    code = 44


class VDIUnavailable(SRError):
    code = 46


class SRUnavailable(SRError):
    code = 47


class VDIType(SRError):
    code = 66


class VDISize(SRError):
    code = 79


class SnapshotFailed(SRError):
    code = 82


class ConfigMissing(SRError):
    code = 115


class BadRequest(SRError):
    code = 143


class VDIMissing(SRError):
    code = 144


class ChangedBlocksFailed(SRError):
    code = 460
