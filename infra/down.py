"""`make down`: stop what was started in this folder, workers first; data stay."""

from __future__ import annotations

from infra.command import run, say
from infra.services import local
from infra.services.folder import Folder

PATIENCE_S = 60.0  # a command that was just interrupted is still putting things away


def main() -> None:
    folder = Folder.of()
    if not folder.root.exists():
        print("nothing was started here")
        return
    with folder.only_one("make down", PATIENCE_S):
        stopped = local.stop_all(folder, say)
    print(f"stopped: {', '.join(stopped)}; data stay in {folder.root}" if stopped else "nothing was running")


if __name__ == "__main__":
    run(main)
