"""What may not change from one rule book to the next: each check gives a sentence per reason, with the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from nanotally.streams.domain.tariff import DENOMINATOR_MAX, SEMANTICS_VERSION, Settings, TariffVersion
from nanotally.streams.tariffs import figures

Known = Mapping[tuple[str, int], TariffVersion]  # by (tariff, version)


def name_of(v: TariffVersion) -> str:
    return f"{v.tariff} version {v.version}"


def other_content(v: TariffVersion, before: TariffVersion, known: Known) -> str:
    """That a version was published with other content."""
    return (
        f"{name_of(v)} was published with other content ({before.content_hash[:16]}, now {v.content_hash[:16]}); "
        f"a version never changes: give the new one version {_next_version(v, known)}"
    )


def _next_version(v: TariffVersion, known: Known) -> int:
    return max([v.version, *(version for tariff, version in known if tariff == v.tariff)]) + 1


def too_soon(fresh: Iterable[TariffVersion], now_us: int, lead_us: int) -> Iterable[str]:
    """Versions that come into force before now and the lead."""
    for v in fresh:
        if v.effective_from_us < now_us + lead_us:
            soonest = -(-(now_us + lead_us) // 10**6) * 10**6
            why = f"sooner than {figures.number(Fraction(lead_us, 10**6))} s from now" if lead_us else "which is past"
            yield (
                f"{name_of(v)} would be in force from {figures.iso(v.effective_from_us)}, {why}; "
                f"set effective_from to {figures.iso(soonest)} or later, or publish it backdated: it then "
                "rates what arrives after its activation, and no charge that was made"
            )


def never_in_force(fresh: Iterable[TariffVersion], known: Known) -> Iterable[str]:
    """Versions that another, of a greater number and the same instant, hides."""
    for v in fresh:
        over = [
            k
            for k in known.values()
            if k.tariff == v.tariff and k.version > v.version and k.effective_from_us == v.effective_from_us
        ]
        if over:
            yield (
                f"{name_of(v)} would never be in force: version {over[0].version} begins at the same instant; "
                f"give it version {_next_version(v, known)}, or another effective_from"
            )


def claims(tariffs: Sequence[TariffVersion]) -> Iterable[str]:
    """A product belongs to one tariff, over all versions, and one tariff at most takes what none claims."""
    claimed: dict[str, str] = {}
    for t in tariffs:
        for product in t.products:
            first = claimed.setdefault(product, t.tariff)
            if first != t.tariff:
                yield (
                    f"product {product!r} is claimed by tariff {first} and by tariff {t.tariff}; a product belongs to "
                    "one tariff for good: take it out of `products` of the other"
                )
    open_to_all = list(dict.fromkeys(t.tariff for t in tariffs if not t.products))
    if len(open_to_all) > 1:
        yield (
            f"tariffs {figures.listing(open_to_all)} name no products, so each would take all that no other claims; "
            "list `products` in all but one of them"
        )


@dataclass
class _Fixed:
    """What a later version of a tariff may not change, with the version that set it."""

    value: object
    version: int


def changed(versions: Iterable[TariffVersion]) -> Iterable[str]:
    """What differs between versions of one tariff and may not: state is kept and money summed across versions."""
    fixed: dict[tuple[str, str, str], _Fixed] = {}
    denominators: dict[tuple[str, str, str], int] = {}
    for v in sorted(versions, key=lambda v: (v.tariff, v.version)):
        facts: list[tuple[str, str, object, str]] = [("currency", "", v.currency, f"the currency is {v.currency}")]
        for m in v.meters:
            facts.append(("meter", m.name, (m.unit, m.scale), f"meter {m.name!r} counts {m.unit} at scale {m.scale}"))
        facts += [("rule", r.name, r.meter, f"rule {r.name!r} is for meter {r.meter!r}") for r in v.rules]
        for kind, name, value, words in facts:
            first = fixed.setdefault((v.tariff, kind, name), _Fixed(value, v.version))
            if first.value != value:
                yield f"{name_of(v)}: {words}, in version {first.version} {_was(first.value)}; {_REMEDIES[kind]}"
        # The variants of a rule share their scopes, and so do all of its versions; passes count for themselves.
        counting = [("rule", r) for r in v.rules] + [("pass", p.price) for p in v.passes]
        for kind, r in counting:
            common = lcm(denominators.get((v.tariff, kind, r.name), 1), r.denominator)
            if common > DENOMINATOR_MAX:
                yield (
                    f"{name_of(v)}: {kind} {r.name!r} has prices that share no fraction of a nano down to 1/2^62 with "
                    "those of earlier versions, so remainders could not be carried on; write prices with fewer "
                    f"digits, or give the {kind} another name"
                )
            else:
                denominators[v.tariff, kind, r.name] = common


_REMEDIES = {
    "currency": "a tariff's currency never changes: publish another tariff for the other currency",
    "meter": "a meter never changes: give the other one another name",
    "rule": "what a rule has counted is kept under its name: give the rule of the other meter another name",
}


def _was(value: object) -> str:
    return f"{value[0]} at scale {value[1]}" if isinstance(value, tuple) else repr(value)


def changed_settings(chosen: Settings, before: Sequence[Settings]) -> Iterable[str]:
    """Settings that the first book fixed, and semantics this program does not know."""
    if chosen.semantics > SEMANTICS_VERSION:
        yield (
            f"the rule book in force asks for semantics {chosen.semantics}, this nanotally knows {SEMANTICS_VERSION}; "
            "publish with the newer one"
        )
    if not before:
        return
    for name, first, now in (
        ("zone", before[0].zone, chosen.zone),
        ("windows", ", ".join(before[0].windows), ", ".join(chosen.windows)),
        ("settlement", before[0].settlement, chosen.settlement),
    ):
        if first != now:
            yield (
                f"settings: {name} is {now} where the first book has {first}; it is fixed for the life of an "
                f"installation, since closed windows would not add up: write {name}: {first}"
            )
