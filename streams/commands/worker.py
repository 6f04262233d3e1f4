"""`nanotally worker`: the stages."""

from __future__ import annotations

from typing import Annotated

import typer

from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.pipeline.supervisor import run_all
from nanotally.streams.pipeline.worker import run_stage


def worker(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="payers, accounts, sink; all of them without.")
    ] = None,
) -> None:
    """Run the stages until interrupted: payers rates, accounts settles, sink writes to ClickHouse.

    Without a stage, or with several, each runs in a process of its own, which is started again when it dies. One stage
    alone runs in this process. Workers of the same stage on several machines share its partitions.

    Example: nanotally worker payers
    """
    chosen = list(dict.fromkeys(stages or STAGES))
    for stage in chosen:
        if stage not in STAGES:
            raise typer.BadParameter(f"{stage!r} is no stage; there are {', '.join(STAGES)}", param_hint="STAGE")
    environment = Environment.load()
    if len(chosen) == 1:
        run_stage(chosen[0], environment)
    run_all(environment, chosen)
