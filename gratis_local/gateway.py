"""MiniStack as the embedded engine's process: its HTTP API hands packed bodies on in base64, unharmed.

MiniStack goes by the content type alone and reads gzip of JSON as text, which destroys it. API Gateway's documentation
says that binary payloads arrive in base64; how it treats packed JSON has never been tried on AWS.
"""

import sys
from collections.abc import Mapping
from typing import Any

from ministack.app import main  # type: ignore[import-untyped]
from ministack.services import apigateway  # type: ignore[import-untyped]

ENCODING, TYPE = "content-encoding", "content-type"
_hand_on = apigateway._invoke_lambda_proxy  # noqa: SLF001 - it has no public name


class _Packed(dict[str, str]):
    """Headers that do not say whether a body is text to whoever asks for that one header; copies do."""

    def get(self, name: str, default: Any = None) -> Any:
        return default if name == TYPE else super().get(name, default)


async def _unharmed(  # noqa: PLR0917 - MiniStack's own parameters
    integration: Any, api: str, stage: str, path: str, method: str, headers: Mapping[str, str], *more: Any, **named: Any
) -> Any:
    handed = _Packed(headers) if headers.get(ENCODING) else headers
    return await _hand_on(integration, api, stage, path, method, handed, *more, **named)


if __name__ == "__main__":
    apigateway._invoke_lambda_proxy = _unharmed  # noqa: SLF001
    sys.exit(main())
