"""`make reset`: stop what was started in this folder and delete its data, logs and addresses; backups stay.

Services whose addresses the environment gives are somebody else's: their topics and tables stay.
"""

from __future__ import annotations

import os

from infra.command import run, say
from infra.down import PATIENCE_S
from infra.services import local
from infra.services.folder import Folder


def main() -> None:
    folder = Folder.of()
    if not folder.root.exists():
        print("nothing was started here")
        return
    with folder.only_one("make reset", PATIENCE_S):
        local.stop_all(folder, say)
        gone = folder.forget()
    print(f"forgotten: {', '.join(gone)}" if gone else "there was nothing to forget")
    if folder.backups.exists():
        print(f"backups stay in {folder.backups}")
    for variable in ("NANOTALLY_KAFKA", "NANOTALLY_CLICKHOUSE"):
        if os.environ.get(variable):
            print(f"what is at {os.environ[variable]} ({variable}) was not touched")


if __name__ == "__main__":
    run(main)
