"""Writes the schema and the reference, which are generated from the settings: `python -m daemon.config [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from daemon.config.reference import reference
from daemon.config.schema import schema_text


def generated() -> dict[str, str]:
    """Return the text of each generated file by its place in the repository."""
    return {"config/schema.json": schema_text(), "docs/configuration.md": reference()}


def main(arguments: list[str]) -> None:
    """Write the generated files below the folder that `arguments` names, the working directory without one."""
    root = Path(arguments[0] if arguments else ".")
    for name, text in generated().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
