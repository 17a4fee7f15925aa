"""XML-RPC and JSON-RPC (1.0, 2.0) as xapi speaks them: from a request's bytes to a call, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, dumps, loads

from lab.xapi.failure import Failure


class Malformed(Exception):
    """Not a request at all: answered with HTTP 500, as xapi does."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    parameters: list[Any]
    succeed: Callable[[Any], bytes]
    fail: Callable[[Failure], bytes]
    xml: bool


def parse_xml(body: bytes) -> Request:
    try:
        parameters, method = loads(body.decode())
    except (ExpatError, Fault, UnicodeDecodeError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise Malformed(str(error)) from error
    if method is None:
        raise Malformed("no methodName")
    return Request(method, list(parameters), _xml_value, _xml_failure, xml=True)


def parse_json(body: bytes) -> Request:
    try:
        call = json.loads(body)
        method, parameters, own_id = call["method"], call["params"], call["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"malformed method request: {error}") from error
    if not isinstance(method, str) or not isinstance(parameters, list) or own_id is None:
        raise Malformed("malformed method request")
    if call.get("jsonrpc") == "2.0":
        base = {"jsonrpc": "2.0", "id": own_id}
        return Request(
            method,
            parameters,
            lambda value: _json({**base, "result": value}),
            lambda failure: _json(
                {**base, "error": {"code": 1, "message": failure.code, "data": list(failure.parameters)}}
            ),
            xml=False,
        )
    return Request(
        method,
        parameters,
        lambda value: _json({"result": value, "error": None, "id": own_id}),
        lambda failure: _json({"result": None, "error": failure.description, "id": own_id}),
        xml=False,
    )


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode()


def _xml_value(value: Any) -> bytes:
    return dumps(({"Status": "Success", "Value": value},), methodresponse=True).encode()


def _xml_failure(failure: Failure) -> bytes:
    answer = {"Status": "Failure", "ErrorDescription": failure.description}
    return dumps((answer,), methodresponse=True).encode()
