"""What must hold of the catalogs of a rule book, and between one book and the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from nanotally.streams.domain.catalogs import CatalogVersion
from nanotally.streams.tariffs import figures

Known = Mapping[tuple[str, int], CatalogVersion]  # by (catalog, version)
SHOWN_MAX = 5


def source_key(c: CatalogVersion) -> tuple[str, int]:
    """Key of the file as written among those of a book; no tariff is named so."""
    return f"catalog {c.catalog}", c.version


def catalogs_of(
    held: Sequence[CatalogVersion], known: Known, added: Sequence[CatalogVersion], now_us: int, lead_us: int | None
) -> tuple[tuple[CatalogVersion, ...], list[str]]:
    """The catalogs of the next book and why it may not be published. held: those of the newest book; known: of all
    books ever; lead_us None lifts the rule that new ones begin in the future."""
    problems: list[str] = []
    fresh: dict[tuple[str, int], CatalogVersion] = {}
    for c in added:
        before = fresh.get((c.catalog, c.version)) or known.get((c.catalog, c.version))
        if before is None:
            fresh[c.catalog, c.version] = c
        elif before.content_hash != c.content_hash:
            problems.append(
                f"{_name(c)} was published with other content ({before.content_hash[:16]}, now {c.content_hash[:16]}); "
                f"a version never changes: give the new one version {_next_version(c, {**known, **fresh})}"
            )
    problems += _too_soon(fresh.values(), now_us, lead_us)
    problems += _never_in_force(fresh.values(), {**known, **fresh})
    all_of = {(c.catalog, c.version): c for c in (*held, *added)}
    catalogs = tuple(c for _, c in sorted(all_of.items()))
    problems += _claims(catalogs)
    return catalogs, problems


def _name(c: CatalogVersion) -> str:
    return f"catalog {c.catalog} version {c.version}"


def _next_version(c: CatalogVersion, known: Known) -> int:
    return max([c.version, *(version for catalog, version in known if catalog == c.catalog)]) + 1


def _too_soon(fresh: Iterable[CatalogVersion], now_us: int, lead_us: int | None) -> Iterator[str]:
    for c in fresh:
        if lead_us is not None and c.effective_from_us < now_us + lead_us:
            soonest = -(-(now_us + lead_us) // 10**6) * 10**6
            why = f"sooner than {figures.number(Fraction(lead_us, 10**6))} s from now" if lead_us else "which is past"
            yield (
                f"{_name(c)} would be in force from {figures.iso(c.effective_from_us)}, {why}; "
                f"set effective_from to {figures.iso(soonest)} or later, or publish it backdated"
            )


def _never_in_force(fresh: Iterable[CatalogVersion], known: Known) -> Iterator[str]:
    for c in fresh:
        over = [
            k.version
            for k in known.values()
            if k.catalog == c.catalog and k.version > c.version and k.effective_from_us == c.effective_from_us
        ]
        if over:
            yield (
                f"{_name(c)} would never be in force: version {over[0]} begins at the same instant; "
                f"give it version {_next_version(c, known)}, or another effective_from"
            )


def _claims(catalogs: Sequence[CatalogVersion]) -> Iterator[str]:
    """An item of a product belongs to one catalog, over all versions."""
    claimed: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    clashes: dict[tuple[str, str], list[str]] = {}
    for c in catalogs:
        for item in c.items:
            claims = claimed.setdefault(item.item, set())
            for name, products in claims:
                shared = not c.products or not products or set(c.products) & set(products)
                if name != c.catalog and shared:
                    clashes.setdefault((name, c.catalog), []).append(item.item)
            claims.add((c.catalog, c.products))
    for (first, second), items in clashes.items():
        distinct = list(dict.fromkeys(items))
        shown = [repr(item) for item in distinct[:SHOWN_MAX]]
        shown += [f"{len(distinct) - SHOWN_MAX} more"] if len(distinct) > SHOWN_MAX else []
        noun, verb = ("item", "is") if len(distinct) == 1 else ("items", "are")
        yield (
            f"{noun} {figures.listing(shown)} {verb} in catalog {first} and in catalog {second}; an item of a product "
            "belongs to one catalog: take it out of the other, or give them different `products`"
        )
