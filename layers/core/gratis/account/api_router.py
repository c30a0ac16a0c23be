"""The account API's router: Powertools' own, which can also say what a route takes before it is called."""

import re
from collections.abc import Mapping, Sequence
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
    """Powertools' resolver. Request ids may hold slashes, names commas, and the document has our errors."""

    @property
    def routes(self) -> Sequence[Route]:
        """Every route, in the order in which Powertools tries them."""
        return [*self._static_routes, *self._dynamic_routes]

    def match(self, event: APIGatewayProxyEventV2) -> Match | None:
        """The route that `resolve` will call for this event; None if there is none, which it will answer with 404."""
        for route in self.routes:
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
        """The OpenAPI document."""
        return openapi.with_events(openapi.with_our_errors(super().get_openapi_schema(**described)))

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}$") -> re.Pattern[str]:
        """A `<name>` is one part of a path; `<request_id>`, which ends its route, is all that is left of the path."""
        named = rule.replace("<request_id>", "(?P<request_id>.+)")
        return re.compile(base_regex.format(re.sub(r"(?<!P)<(\w+)>", r"(?P<\1>[^/]+)", named)))
