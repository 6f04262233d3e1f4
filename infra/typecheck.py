"""mypy over all packages, under the names they are imported by.

The folder `streams` is imported as `nanotally.streams`, which mypy cannot know from the path. So it is shown the tree
through a link named `nanotally`, and the paths it prints are turned back. Usage: python -m infra.typecheck [PATH...]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".nanotally" / "types" / "nanotally"
SHIPPED = ("schemas", "streams", "sinks")
ALL = (*SHIPPED, "infra", "tests")


def shown_as(path: str) -> str:
    """The path by which mypy finds the right module name for `path` (relative to the root)."""
    relative = Path(os.path.relpath(path, ROOT))
    return str(LINK.relative_to(ROOT) / relative) if relative.parts[0] in SHIPPED else str(relative)


def main(arguments: list[str]) -> int:
    """Check the given paths, by default everything; 0 when clean, as mypy says otherwise."""
    LINK.parent.mkdir(parents=True, exist_ok=True)
    if not LINK.is_symlink():
        LINK.symlink_to(os.path.relpath(ROOT, LINK.parent))
    paths = [shown_as(os.path.abspath(path)) for path in arguments or [str(ROOT / name) for name in ALL]]
    os.environ["MYPYPATH"] = str(LINK.parent)
    os.chdir(ROOT)
    out, err, code = api.run(paths)
    sys.stdout.write(out.replace(f"{LINK.relative_to(ROOT)}{os.sep}", ""))
    sys.stderr.write(err)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
