"""Loads the real Lambda functions from `functions/` and calls them as Lambda would."""

import importlib.util
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gratis_local.places import ROOT

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass
class Context:
    """The parts of Lambda's context object that Powertools reads."""

    function_name: str
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:local"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        """Time enough."""
        return 900_000


def handler_of(function: str) -> Handler:
    """The handler in functions/<function>/app.py, freshly loaded: nothing is kept from earlier calls."""
    handler: Handler = module_of(function).handler
    return handler


def module_of(function: str) -> Any:
    """The module functions/<function>/app.py, freshly loaded."""
    spec = importlib.util.spec_from_file_location(f"{function}_app", ROOT / "functions" / function / "app.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no function {function!r}")
    logging.Logger.manager.loggerDict.pop(function, None)  # it would write to an earlier standard output
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
