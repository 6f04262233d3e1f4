"""What a quantity costs under one rule, worked out by the engine's own rating in a scope of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nanotally.streams.domain.keys import group_codes
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rating import Asked, rate
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import Rule


def values(rule: Rule, quantities: Sequence[int], uses_before: int = 0) -> list[Fraction | None]:
    """Nanos of one use of each quantity (unscaled), each in a scope of its own that had `uses_before` uses of
    nothing: exact where neither cap nor commitment reached in, else what is charged. None where it is refused.

    A minimum that falls due at the scope's end is part of it."""
    n, price = len(quantities), Price(rule)
    groups = group_codes(np.arange(n, dtype=np.int64))
    before = ScopeRows.new(n, price.den)
    before = replace(before, uses=np.full(n, uses_before, dtype=np.int64))
    rated = rate(price, groups, before, Asked(np.array(quantities, dtype=np.int64)))
    out: list[Fraction | None] = []
    for i in range(n):
        if rated.refusal[i]:
            out.append(None)
            continue
        exact = rated.total_after[i].item() + Fraction(rated.remainder_after[i].item(), rated.remainder_den[i].item())
        charged = rated.charged_before[i].item() + rated.amount[i].item()
        value = exact if charged == exact.__floor__() else Fraction(charged)
        out.append(value if rule.scope == "event" else max(value, Fraction(rule.minimum_nanos)))
    return out
