"""simulate-flat and simulate-stateful: a draft beside the tariff in force, both rated over the same uses, columns in,
sums by payer, creator, item, feature, rule and day out; in one process, on one core."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nanotally.streams.commands.simulate_outcome import Taken
from nanotally.streams.commands.simulate_rating import side
from nanotally.streams.commands.simulate_sums import Simulation
from nanotally.streams.domain.tariff import RuleBook, Tier
from nanotally.streams.domain.uses import Uses
from tests.bench.report import Figure
from tests.bench.usage import START_US, flat_book, stateful_book, usage

CHUNK = 100_000
CHUNKS = 16


def simulate_flat() -> Figure:
    """One flat price against another; payers as uneven as people are."""
    return Figure("simulate-flat", _rate(flat_book(), even=0), 1_000_000, {"uses": CHUNK * CHUNKS, "tariffs": 2})


def simulate_stateful() -> Figure:
    """Graduated tiers per payer and month against others, 100,000 payers all as often."""
    return Figure("simulate-stateful", _rate(stateful_book(), even=1), 300_000, {"uses": CHUNK * CHUNKS, "tariffs": 2})


def dearer(book: RuleBook) -> RuleBook:
    """The book with all prices a tenth higher."""
    (version,) = book.tariffs
    (rule,) = version.rules
    tiers = tuple(Tier(t.up_to, t.price * Fraction(11, 10)) for t in rule.tiers)
    return replace(book, tariffs=(replace(version, rules=(replace(rule, tiers=tiers),)),))


def _rate(book: RuleBook, even: int) -> float:
    """Uses a second, each rated by both tariffs: the best of three passes, after one that meets all payers and
    creators for the first time."""
    taken = []
    for i in range(CHUNKS):
        batch = usage(CHUNK, seed=i, ids=i * CHUNK, start_us=START_US + i * CHUNK * 10, even=even)
        uses = Uses(batch, np.arange(i * CHUNK, (i + 1) * CHUNK), np.full(CHUNK, START_US), [])
        taken.append((uses, uses.occurred_at_us))
    simulation = Simulation("feature")
    sides = side(book, simulation.names), side(dearer(book), simulation.names)
    best = 0.0
    for attempt in range(4):
        started = time.perf_counter()
        for uses, booked_at in taken:
            fresh = Uses(uses.batch, uses.offsets, uses.recorded_at_us, [])  # nothing worked out beforehand
            one = Taken(0, fresh, booked_at, int(booked_at[0]))
            simulation.add(one, (sides[0].rate(one), sides[1].rate(one)))
        rate = CHUNK * CHUNKS / (time.perf_counter() - started)
        best = max(best, rate if attempt else 0.0)
    return best
