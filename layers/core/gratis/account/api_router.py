"""The account API's router: Powertools' own, which can also say what a route takes before it is called."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.account import openapi

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.models import OpenAPI


class Match(NamedTuple):
    """The route that answers a request, and the parts of the request's path that the route names."""

    route: Route
    names: dict[str, str]


class QueriedEvent(APIGatewayProxyEventV2):
    """A request whose lists hold the values that were sent: Powertools would take names apart at their commas."""

    @property
    def resolved_query_string_parameters(self) -> dict[str, list[str]]:
        """The values of each parameter of the query."""
        return {name: [*values] for name, values in self.multi_value_query_string_parameters.items()}


class Api(APIGatewayHttpResolver):
    """Powertools' resolver. Request ids may hold slashes, names commas, and the document has our errors.

    `subjects`: modules with a router `routes`. Each is imported when none before it has the route of a call: the first
    answer needs one subject, and all of them are a good part of a cold start.
    """

    def __init__(self, subjects: Iterable[str]) -> None:
        # no debug, whatever POWERTOOLS_DEV says: it would print every request
        super().__init__(enable_validation=True, debug=False)
        self._waiting = deque(subjects)

    @property
    def routes(self) -> Sequence[Route]:
        """Every route, in the order in which Powertools tries them."""
        self._include_all()
        return self._included

    def match(self, event: APIGatewayProxyEventV2) -> Match | None:
        """The route that `resolve` will call for this event; None if there is none, which it will answer with 404."""
        while (match := self._match(event)) is None and self._waiting:
            self._include_next()
        return match

    @property
    def _included(self) -> Sequence[Route]:
        return [*self._static_routes, *self._dynamic_routes]

    def _include_next(self) -> None:
        self.include_router(import_module(self._waiting[0]).routes)
        self._waiting.popleft()  # now, so that a subject whose import failed is tried again

    def _include_all(self) -> None:
        while self._waiting:
            self._include_next()

    def _match(self, event: APIGatewayProxyEventV2) -> Match | None:
        for route in self._included:
            if route.method == event.http_method.upper() and (found := route.rule.match(event.path)):
                return Match(route, found.groupdict())
        return None

    def resolve(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """The answer to a request.

        Powertools keeps a request's values in the router's context, and would find those of an earlier request there.
        """
        self.clear_context()  # type: ignore[no-untyped-call]
        return super().resolve(event, context)

    def _to_proxy_event(self, event: dict[str, Any]) -> QueriedEvent:
        return QueriedEvent(event, self._json_body_deserializer)

    def get_openapi_schema(self, **described: Any) -> "OpenAPI":
        """The OpenAPI document, of every route."""
        self._include_all()
        return openapi.with_events(openapi.with_our_errors(super().get_openapi_schema(**described)))

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}$") -> re.Pattern[str]:
        """A `<name>` is one part of a path; `<request_id>`, which ends its route, is all that is left of the path."""
        named = rule.replace("<request_id>", "(?P<request_id>.+)")
        return re.compile(base_regex.format(re.sub(r"(?<!P)<(\w+)>", r"(?P<\1>[^/]+)", named)))
