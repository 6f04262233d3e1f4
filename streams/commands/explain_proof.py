"""The proof of a charge: one document that streams/verify_proof.py checks without anything of nanotally."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from importlib import resources
from typing import Any

from nanotally.streams.domain.explaining import HASH_DIGITS, Explanation, LineExplained

FORMAT = "nanotally charge 1"


def proof(charge: Mapping[str, Any], explained: Explanation) -> dict[str, Any]:
    """The facts of the charge, the tariff versions that it was rated by, whole, and each line; docs/proofs.md. Exact
    fractions are texts ('20000/3'), times microseconds since 1970 UTC, quantities unscaled."""
    versions = {line.version.content_hash: line.version for line in explained.lines}
    return {
        "proof": FORMAT,
        "charge": explained.name,
        "outcome": explained.outcome,
        "reason": explained.reason,
        "payer": charge["payer"],
        "event": charge["event"],
        "booked_at": charge["booked_at"],
        "currency": charge["currency"],
        "paid_nanos": charge["paid_nanos"],
        "lines": [_line(line, told) for line, told in zip(explained.lines, charge["lines"], strict=True)],
        "tariffs": {content_hash: version.document() for content_hash, version in versions.items()},
    }


def _line(line: LineExplained, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "link": line.link,
        "rule": line.name,
        "variant": told["variant"],
        "tariff_hash": line.version.content_hash[:HASH_DIGITS],
        "scope": told["scope"],
        "scope_start": line.scope_start_us,
        "scope_end": line.scope_end_us,
        "uses_before": line.before.uses,
        "quantity_before": line.before.quantity,
        "over_before": line.before.over,
        "quantity": line.quantity,
        "first": line.first,
        "unit_price": None if line.unit_price is None else str(line.unit_price),
        "tier_quantity": line.tier_quantity,
        "total_before": str(line.total_before),
        "total_after": str(line.total_after),
        "charged_before": line.charged_before,
        "minimum_nanos": told["minimum_nanos"],
        "amount_nanos": line.amount,
        "paid_nanos": line.paid,
        "pass": told["pass"],
        "catalog": line.catalog,
        "split": told["split"],
        "base_before": line.base_before,
        "claims": [
            {"account": c.account, "fraction": str(c.fraction), "most": c.most, "beyond": c.beyond, "left": c.left}
            for c in line.claims
        ],
        "shares": [
            {
                "account": share["account"],
                "fraction": str(Fraction(share["fraction_num"], share["fraction_den"])),
                "nanos": share["nanos"],
            }
            for share in told["shares"]
        ],
    }


def script() -> str:
    """The text of the script that verifies a proof."""
    return resources.files("nanotally.streams").joinpath("verify_proof.py").read_text(encoding="utf-8")
