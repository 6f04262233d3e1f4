"""`nanotally tariff schema`: the shape of a tariff file, for editors."""

from __future__ import annotations

import json

import typer

from nanotally.streams.tariffs.schema import tariff_schema


def schema() -> None:
    """Print the JSON Schema of tariff files, so that an editor completes names and marks slips.

    An editor with the YAML language server takes it from a first line such as
    `# yaml-language-server: $schema=tariff.schema.json`. The schema knows names and shapes; what a tariff means is
    told by `tariff check`.

    Example: nanotally tariff schema
    """
    typer.echo(json.dumps(tariff_schema(), indent=2, ensure_ascii=False))
