"""An orchestrator that has failed is known by what Ceph says of its health."""

from __future__ import annotations

from shoal.steps.orchestrator import failed_module

FAILED = "Module 'cephadm' has failed: 'Dumper' object has no attribute 'represented_objects'"  # of Ceph 18.2.7


def health(*messages: str) -> dict[str, object]:
    error = {
        "severity": "HEALTH_ERR",
        "summary": {"message": messages[0], "count": len(messages)},
        "detail": [{"message": message} for message in messages],
        "muted": False,
    }
    return {"status": "HEALTH_ERR", "checks": {"MGR_MODULE_ERROR": error}, "mutes": []}


def test_a_failed_orchestrator_is_told_by_its_own_words() -> None:
    assert failed_module(health("Module 'devicehealth' has failed: disk I/O error", FAILED)) == FAILED


def test_other_modules_are_none_of_its_business() -> None:
    assert failed_module(health("Module 'devicehealth' has failed: disk I/O error")) == ""


def test_health_without_errors_or_without_sense_says_nothing() -> None:
    answers: tuple[object, ...] = ({"status": "HEALTH_OK", "checks": {}, "mutes": []}, {"checks": None}, None, [])
    for said in answers:
        assert failed_module(said) == ""
