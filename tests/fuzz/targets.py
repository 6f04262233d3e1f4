"""All targets by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz import commands, datums, files, letters, pages, schemas, stage
from tests.fuzz.runner import Case

TARGETS: Mapping[str, Case] = {
    "codec": datums.case,
    "schemas": schemas.case,
    "stage": stage.case,
    "files": files.case,
    "commands": commands.case,
    "letters": letters.case,
    "pages": pages.case,
}
