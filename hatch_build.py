"""What the installed package brings beside its code: files that commands read, and the repository keeps elsewhere."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = {"events": "gratis_local/shipped/events", "template.yaml": "gratis_local/shipped/template.yaml"}
"""Where they are in the repository and in the package: gratis_local/places.py finds either."""


class Shipped(BuildHookInterface[Any]):
    """Puts them into a wheel; an editable install reads the repository's own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """As hatchling calls it: `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"].update(SHIPPED)
