"""Where the files are that commands read: in the repository, or in the installed package, which brings some of them."""

from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent
"""The repository, where the package runs from a clone of it."""
SHIPPED = PACKAGE / "shipped"
"""What pyproject.toml puts into the package: sample events and the template."""


class NoRepository(Exception):
    """The command deploys or reads what only a clone of the repository holds."""


def shipped(name: str) -> Path:
    """`events` or `template.yaml`: of the repository, or the installed package's copy."""
    return SHIPPED / name if SHIPPED.is_dir() else ROOT / name


def samples() -> dict[str, Path]:
    """The files of sample events, by their names without a suffix: `seed-day`."""
    files = [each for each in shipped("events").iterdir() if each.suffix in (".json", ".jsonl")]
    return {each.stem: each for each in sorted(files) if each.stem != "organizations"}


def needs_repository(command: str) -> None:
    """Raises NoRepository where there is none."""
    if not (ROOT / "layers" / "core").is_dir():
        raise NoRepository(
            f"`{command}` builds and deploys the repository's code, which an installed package does not bring: "
            "clone the repository and run `make up` there"
        )
