"""What the account API answers: exact JSON, and one error envelope whatever went wrong."""

import json
import re
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from gratis.errors import Busy, Rejected
from gratis.http import Refused

MAX_ANSWER_BYTES = 5_500_000
"""Lambda hands on 6 MB, envelope included."""
ERRORS: list[type[Exception]] = [Refused, Rejected, Busy, RequestValidationError, NotFoundError]
"""What a route may raise, and `refusal_of` answers."""


def answered(content: Any, status: int = 200) -> Response[Any]:
    """An answer with this content. Raises Refused: 400 if it is larger than Lambda hands on."""
    body = exact_json(content)
    if len(body) > MAX_ANSWER_BYTES:
        raise Refused(400, "answer_too_large", "the answer is too large; ask for fewer buckets or groups", "limit")
    return Response(status, "application/json", body)


def exact_json(content: Any) -> str:
    """JSON in which a Decimal is the exact number that it is; `json` itself writes numbers of ints and floats only.

    A Decimal is written as an object first, `{"": "0.3"}`, and unwrapped then. No text is ever taken for one, whatever
    it says: a quotation mark within a text is written with a backslash before it.
    """
    text = json.dumps(content, default=lambda value: {"": Decimal.__format__(value, "f")})
    return re.sub(r'\{"": "([^"]+)"\}', r"\1", text)


def refused(refusal: Refused) -> Response[Any]:
    """The refusal as a route answers it."""
    answer = refusal.answer()
    headers = answer["headers"]
    return Response(answer["statusCode"], headers.pop("content-type"), answer["body"], headers=headers)


def refusal_of(error: Exception) -> Refused:
    """How one of ERRORS is answered. Raises any other."""
    match error:
        case Refused():
            return error
        case Busy():
            return Refused(503, "try_again", "the answer cannot be read right now; ask again")
        case Rejected(code="internal_error"):  # what the table does not take is no mistake of the caller
            return Refused(500, "internal_error", "the answer cannot be given; it is not your mistake")
        case Rejected():
            return Refused(400, error.code, error.message, error.message.partition(":")[0])
        case RequestValidationError():
            return _invalid(error)
        case NotFoundError():
            return Refused(404, "not_found", "there is nothing here")
    raise error


def _invalid(error: RequestValidationError) -> Refused:
    """The first thing that is wrong, by name and value: 400, never clamped."""
    problem = error.errors()[0]
    param = ".".join(str(part) for part in problem["loc"][1:] if isinstance(part, str)) or "body"
    found = "" if problem["type"] == "missing" else f": {json.dumps(problem.get('input'), default=str)[:120]}"
    message = problem["msg"].removeprefix("Value error, ")
    return Refused(400, "invalid_value", f"{param}: {message}{found}", param)
