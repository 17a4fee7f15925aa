"""Errors: what others said is in them, but not all of it."""

from __future__ import annotations

from shoal.clients.ceph import CephRefused
from shoal.clients.ssh import Completed
from shoal.kit.errors import BRIEF_MAX, DETAILS_MAX, ShoalError


def test_what_others_said_without_end_is_cut() -> None:
    said = "x" * 50_000_000 + "the reason"
    refused = CephRefused(["status"], Completed("", said, 1))
    assert len(refused.brief) == len(str(refused)) == BRIEF_MAX + 1
    assert len(refused.details) == DETAILS_MAX + 1 and refused.details.endswith("the reason")


def test_what_is_short_is_left_as_it_is() -> None:
    error = ShoalError("brief", details="a\nb", resolution="do this")
    assert (error.brief, error.details, str(error)) == ("brief", "a\nb", "brief")
