"""Whether a vector comes out here as its source says, and if not, whether a quirk of the source is all the difference.

The charges are compared with the vector's exact value, floored to the nano. The quirk is applied to that exact value,
not to the charges: so a wrong charge is never explained away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from nanotally.streams.tariffs.findings import TariffErrors
from tests.golden.calculator import (
    QUIRKS,
    ZERO_TOTAL,
    Figures,
    NotComputable,
    Table,
    calculate,
    exact_shares,
    number,
    source_shares,
)
from tests.golden.pricing import Nanos, NotCharged, price
from tests.golden.splits import divide, floors
from tests.golden.translation import translate
from tests.golden.uses import Translation
from tests.golden.words import NotExpressible, scaled

EQUAL, QUIRK, WRONG, NOT_EXPRESSIBLE = "equal", "differs by a listed quirk", "wrong", "not expressible"
KINDS = (EQUAL, QUIRK, WRONG, NOT_EXPRESSIBLE)

REMAINDER_RULE = "remainder rule: who gets the odd units of a split"
LARGE = 4 * 10**9  # a scope holds less than 2^62 nanos, which are 4.6 billion units
EACH_FLOORED = "entries priced alone are rounded one by one, here down to the nano"


@dataclass(frozen=True)
class Verdict:
    """One of KINDS, and what there is to say of it."""

    kind: str
    words: str = ""


def judge(vector: Table) -> Verdict:
    """The verdict on a vector. Never raises for what a vector says."""
    try:
        return judge_split(vector) if vector["model"] == "split" else judge_amounts(vector)
    except (NotExpressible, TariffErrors) as e:
        return Verdict(NOT_EXPRESSIBLE, " ".join(str(e).split()))
    except NotCharged as e:
        return Verdict(WRONG, str(e))
    except NotComputable as e:
        return Verdict(NOT_EXPRESSIBLE, f"the vector has no meaning: {e}")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError) as e:
        return Verdict(WRONG, f"cannot be tried: {type(e).__name__}: {e}")


def judge_amounts(vector: Table) -> Verdict:
    """The verdict on a vector of amounts."""
    plain = calculate(vector, frozenset())
    unit = 1
    while max(abs(amount) for amount in (plain.total, *(plain.per or ()))) >= unit * LARGE:
        unit *= 1000
    translation = translate(vector if unit == 1 else scaled(vector, Fraction(1, unit)))
    got = price(translation)
    verdict = compare(vector, translation, Nanos(got.total * unit, tuple(n * unit for n in got.per)), unit)
    return verdict if unit == 1 else Verdict(verdict.kind, f"charged in units of {unit:,} {verdict.words}".rstrip())


def compare(vector: Table, translation: Translation, got: Nanos, unit: int = 1) -> Verdict:
    """The verdict on what was charged, in whole nanos of `unit` units of the currency."""
    stated = Figures(number(vector["expected"]), _numbers(vector.get("expected_per_usage")))
    plain = calculate(vector, frozenset())
    names = explained(vector, stated)
    # Where the reading of the vector and its source disagree, only the source counts.
    exact = (
        plain if names is not None and _agrees(vector, plain) else Figures(number(vector.get("exact", stated.total)))
    )
    want = floored(exact, translation, unit)
    if got.total != want.total or (exact.per is not None and got.per != want.per):
        return Verdict(WRONG, f"expected {_words(want, exact)}, got {_words(got, exact)}")
    if names:
        return Verdict(QUIRK, f"{', '.join(sorted(names))}: {vector['expected']} for {_total(got.total)}")
    if nanos_of(exact.total, unit) != got.total and translation.way == "own":
        return Verdict(QUIRK, EACH_FLOORED)
    return Verdict(EQUAL)


def explained(vector: Table, stated: Figures) -> set[str] | None:
    """The quirks that are all the difference between the exact value and what the source states; none where they are
    the same, None where it is not the difference."""
    if not _same(calculate(vector), stated):
        return None
    if _same(calculate(vector, frozenset()), stated):
        return set()
    return {quirk for quirk in QUIRKS if not _same(calculate(vector, QUIRKS - {quirk}), stated)}


def _agrees(vector: Table, plain: Figures) -> bool:
    """Whether the vector's own exact value is the one that was worked out; a dropped fixed fee is not in it."""
    if "exact" not in vector:
        return True
    return number(vector["exact"]) in (plain.total, calculate(vector, frozenset({ZERO_TOTAL})).total)


def _same(figures: Figures, stated: Figures) -> bool:
    return figures.total == stated.total and (stated.per is None or figures.per == stated.per)


def floored(exact: Figures, translation: Translation, unit: int) -> Nanos:
    """What is charged where each scope is floored to the nano."""
    if exact.per is None:
        return Nanos(nanos_of(exact.total, unit), ())
    if translation.way == "own":
        alone = tuple(nanos_of(amount, unit) for amount in exact.per)
        return Nanos(sum(alone), alone)
    levels = [nanos_of(sum(exact.per[: n + 1], Fraction(0)), unit) for n in range(len(exact.per))]
    return Nanos(levels[-1], tuple(now - before for now, before in zip(levels, [0, *levels], strict=False)))


def nanos_of(amount: Fraction, unit: int) -> int:
    """Whole nanos; what is given back is what the opposite would have cost."""
    whole = floor(abs(amount) * 10**9 / unit) * unit
    return whole if amount >= 0 else -whole


def judge_split(vector: Table) -> Verdict:
    """The verdict on a vector of shares."""
    total = number(vector["usage"][0])
    if total.denominator != 1:
        raise NotExpressible("a part of the smallest unit to divide")
    want = [int(number(share)) for share in vector["expected"]]
    got = divide(vector["tariff"], int(total), len(want))
    exact = exact_shares(vector["tariff"], total)
    if not floors(exact, got):
        return Verdict(WRONG, f"expected {want}, got {got}")
    if got == want:
        return Verdict(EQUAL)
    if source_shares(vector["tariff"], int(total)) == want:
        return Verdict(QUIRK, f"{REMAINDER_RULE}: {want} for {got}")
    return Verdict(WRONG, f"expected {want}, got {got}")


def _numbers(texts: Sequence[str] | None) -> tuple[Fraction, ...] | None:
    return None if not texts else tuple(number(text) for text in texts)


def _words(nanos: Nanos, exact: Figures) -> str:
    per = f" ({', '.join(_total(n) for n in nanos.per)})" if exact.per is not None and len(nanos.per) > 1 else ""
    return _total(nanos.total) + per


def _total(nanos: int) -> str:
    """Nanos as currency units."""
    sign, (whole, rest) = "-" * (nanos < 0), divmod(abs(nanos), 10**9)
    return f"{sign}{whole}" + (f".{rest:09}".rstrip("0") if rest else "")
