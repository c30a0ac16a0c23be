"""How organizations and projects may be named. A module of its own: who takes events in starts without accounts."""

from typing import Annotated

from pydantic import Field

IDENTIFIER = r"^[A-Za-z0-9._-]{1,64}$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
"""An organization. No key separator can be smuggled in."""
PRINTABLE = r"^[^\p{C}\p{Z}]([^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$"
"""Characters that can be seen, and blanks between them: what platforms and gateways really name things."""
ProjectName = Annotated[str, Field(max_length=64, pattern=PRINTABLE)]
"""A project. It stands in keys of the table only where it is quoted."""
