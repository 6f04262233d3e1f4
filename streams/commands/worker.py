"""`nanotally worker`: the stages that rate, settle and write."""

from __future__ import annotations

from typing import Annotated

import typer

from nanotally.streams.environment import STAGES, Environment


def worker(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help=f"{', '.join(STAGES)}; all without any.")
    ] = None,
) -> None:
    """Run the stages until interrupted: each in a process of its own, started again when it dies.

    With one stage named it runs in this process. Further workers share the partitions. Web pages /health, /metrics
    and live tallies are on NANOTALLY_WEB_PORT and the two ports after it.

    Example: nanotally worker payers
    """
    chosen = stages or list(STAGES)
    for name in chosen:
        if name not in STAGES:
            raise typer.BadParameter(f"{name!r} is no stage; there are {', '.join(STAGES)}", param_hint="STAGE")
    environment = Environment.load()
    if len(chosen) == 1:
        from nanotally.streams.pipeline.worker import run_stage

        run_stage(chosen[0], environment)
    from nanotally.streams.pipeline.supervisor import run_all

    run_all(environment, chosen)
