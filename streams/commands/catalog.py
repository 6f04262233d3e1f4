"""`nanotally catalog`: who made which item, who gets what of it, and what it costs; apart from the tariffs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, say_json, table
from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, NotFound
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.catalog_checks import catalogs_of, source_key
from nanotally.streams.tariffs.catalog_files import ReadCatalog, read_catalog
from nanotally.streams.tariffs.findings import Finding, TariffErrors, Unreadable, choose
from nanotally.streams.tariffs.publishing import Publication, activation, publish_book, read_published, send_control

catalog_app = typer.Typer(
    name="catalog", help="Check catalogs of items, publish them, show what is in force.", no_args_is_help=True
)

Files = Annotated[list[Path], typer.Argument(help="Catalog files.", metavar="FILE")]
SHOWN_MAX = 20


@catalog_app.command("check")
def check(files: Files, as_json: AsJson = False) -> None:
    """Say what is wrong with catalog files, and what they hold.

    Needs no services. Exits with 3 where a file cannot be used.

    Example: nanotally catalog check songs.yaml
    """
    read, findings = _read(files)
    catalogs = [r.version for r in read]
    problems = catalogs_of((), {}, catalogs, 0, None)[1]
    failed = bool(problems) or any(f.severity == "error" for f in findings)
    if as_json:
        said = [f.document() for f in findings]
        documents = [c.document() | {"content_hash": c.content_hash} for c in catalogs]
        say_json({"ok": not failed, "findings": said, "problems": problems, "catalogs": documents})
    else:
        for catalog in catalogs:
            typer.echo("\n".join(_words(catalog)) + "\n")
        _say_findings(findings, problems)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


@catalog_app.command("publish")
def publish(
    files: Files,
    note: Annotated[str, typer.Option(help="Why, for people.")] = "",
    lead: Annotated[str, typer.Option(help="How long ahead a new version has to be published, as in 10m.")] = "0s",
    backdated: Annotated[
        bool, typer.Option("--backdated", help="Allow versions in force from a time that has passed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish catalogs in the next rule book, and activate it; tariffs and settings stay as they are.

    What was charged never changes.

    Example: nanotally catalog publish songs.yaml --note 'prices of December'
    """
    try:
        lead_us = None if backdated else values.duration_us(lead)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint="--lead") from e
    read, findings = _read(files)
    if any(f.severity == "error" for f in findings):
        raise TariffErrors(findings)
    environment = Environment.load()
    publication = Publication(
        versions=[],
        note=note,
        sources={source_key(r.version): r.source for r in read},
        lead_us=lead_us,
        catalogs=[r.version for r in read],
    )
    book = publish_book(environment.kafka, environment.prefix, publication, time.time_ns() // 1000)
    partitions = send_control(environment.kafka, environment.prefix, activation(book, note))
    if as_json:
        catalogs = [_line(c) for c in book.catalogs]
        told = {"book": book.number, "book_hash": book.book_hash, "catalogs": catalogs}
        say_json({**told, "partitions": sorted(partitions)})
        return
    _say_findings(findings, [])
    held = figures.listing([f"{c.catalog} {c.version}" for c in book.catalogs])
    typer.echo(f"rule book {book.number} holds catalogs {held}  (hash {book.book_hash[:16]})")
    typer.echo(f"activated in {len(partitions)} partitions of usage")


@catalog_app.command("show")
def show(
    catalog: Annotated[str | None, typer.Argument(help="Name of a catalog; all in short without it.")] = None,
    item: Annotated[str | None, typer.Option(help="One item of it.")] = None,
    version: Annotated[int | None, typer.Option(help="One version of it.")] = None,
    source: Annotated[bool, typer.Option("--source", help="The file as it was written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the catalogs of the newest rule book, or the items of one.

    Example: nanotally catalog show songs --item song-1
    """
    environment = Environment.load()
    books = read_published(environment.kafka, environment.prefix)
    catalogs = books[-1].book.catalogs if books else ()
    if not catalogs:
        raise NotFound("no catalog was published yet; `nanotally catalog publish FILE` publishes one")
    chosen = _chosen(catalogs, catalog, version)
    if item is not None:
        chosen = tuple(c for c in chosen if item in c.item_by_id)
        if not chosen:
            near = choose(item, list(dict.fromkeys(i for c in catalogs for i in c.item_by_id))[:10_000])
            raise NotFound(f"there is no item {item!r}; {near}")
    if as_json:
        say_json({"book": books[-1].book.number, "catalogs": [_document(c, item) for c in chosen]})
    elif source:
        typer.echo("---\n".join(books[-1].sources[source_key(c)] for c in chosen))
    elif catalog is None and item is None:
        rows = [(c.catalog, c.version, figures.instant(c.effective_from_us), _state(c, catalogs), len(c.items),
                 c.content_hash[:16]) for c in chosen]  # fmt: skip
        table(("catalog", "version", "from", "", "items", "content"), rows, right=("version", "items"))
    else:
        for c in chosen:
            typer.echo("\n".join(_words(c, item)))


def _read(files: Sequence[Path]) -> tuple[list[ReadCatalog], list[Finding]]:
    """The files that can be used, and the findings of all."""
    read: list[ReadCatalog] = []
    findings: list[Finding] = []
    for file in files:
        try:
            read.append(read_catalog(file))
            findings += read[-1].warnings
        except TariffErrors as e:
            findings += e.findings
    return read, findings


def _chosen(catalogs: Sequence[CatalogVersion], catalog: str | None, version: int | None) -> tuple[CatalogVersion, ...]:
    names = list(dict.fromkeys(c.catalog for c in catalogs))
    if catalog is not None and catalog not in names:
        raise NotFound(f"there is no catalog {catalog!r}; {choose(catalog, names)}")
    found = tuple(c for c in catalogs if catalog in (None, c.catalog) and version in (None, c.version))
    if not found:
        there = figures.listing([str(c.version) for c in catalogs if catalog in (None, c.catalog)])
        raise NotFound(f"there is no version {version} of it; there are {there}")
    return found


def _state(c: CatalogVersion, catalogs: Sequence[CatalogVersion]) -> str:
    now_us = time.time_ns() // 1000
    begun = [o for o in catalogs if o.catalog == c.catalog and o.effective_from_us <= now_us]
    newest = max(begun, key=lambda o: (o.effective_from_us, o.version), default=None)
    return "in force" if c is newest else "past" if c in begun else "to come"


def _words(c: CatalogVersion, item: str | None = None) -> list[str]:
    """A catalog, or one item of it, for people."""
    products = f"of product {figures.listing(list(c.products))}" if c.products else "of all products"
    count = f"{len(c.items):,} item{'s' * (len(c.items) != 1)}"
    head = f"catalog {c.catalog}, version {c.version}: {count} {products}, in force from "
    items = c.items if item is None else (c.item_by_id[item],)
    more = [] if len(items) <= SHOWN_MAX else [f"  … and {len(items) - SHOWN_MAX:,} more (--json has all)"]
    return [head + figures.instant(c.effective_from_us), *(f"  {_item(i)}" for i in items[:SHOWN_MAX]), *more]


def _item(i: CatalogItem) -> str:
    parts = [f"creator {i.creator}"] if i.creator else []
    parts += [f"label {i.label}"] if i.label else []
    if i.writers:
        parts.append("written by " + figures.listing([f"{name} {figures.percent(part)}" for name, part in i.writers]))
    parts += [f"price {i.price}"] if i.price is not None else []
    return f"{i.item}: {', '.join(parts) or 'nothing is said of it'}"


def _line(c: CatalogVersion) -> dict[str, Any]:
    return {
        "catalog": c.catalog,
        "version": c.version,
        "effective_from": figures.iso(c.effective_from_us),
        "content_hash": c.content_hash,
    }


def _document(c: CatalogVersion, item: str | None) -> dict[str, Any]:
    document = c.document()
    items = [i for i in document["items"] if item in (None, i["item"])]
    return {**_line(c), "products": document["products"], "items": items}


def _say_findings(findings: Sequence[Finding], problems: Sequence[str]) -> None:
    for finding in findings:
        color = typer.colors.RED if finding.severity == "error" else typer.colors.YELLOW
        typer.secho(str(finding), fg=color, err=True)
    for problem in problems:
        typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
