"""Verifies what `nanotally explain CHARGE --proof` wrote: python verify_proof.py FILE. Needs nothing but Python 3.9.

Works the charge out again from the tariff in the file, in exact fractions: says OK, or which number differs, and ends
with 1. The format, and what is left to check, is in docs/proofs.md."""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction as F
from math import ceil, floor
from typing import Any

Table = dict[str, Any]


def rounded(x: int, rounding: Table) -> int:
    steps = F(x, rounding["step"])
    by_mode = {"up": ceil(steps), "down": floor(steps), "half_up": floor(steps + F(1, 2))}
    return by_mode[rounding["mode"]] * int(rounding["step"])


def billable(rule: Table, x: int) -> int:
    """What of a cumulated quantity is priced: allowance off and rounded, in the order that the rule says."""
    free, rounding = rule.get("free") or {}, rule.get("rounding")
    units = free.get("units") or 0
    if rounding is None or rounding["event"]:
        return max(0, x - units)
    return max(0, rounded(x, rounding) - units) if free.get("after_rounding") else rounded(max(0, x - units), rounding)


def total(rule: Table, tiers: list[Table], x: int, uses: int, chooser: int | None, fees_only: bool = False) -> F:
    """The price of a billable quantity after so many uses, exact nanos, tier by tier."""
    found, lower, zero = F(0), 0, rule.get("zero_fee") and uses > 0
    for i, tier in enumerate(tiers):
        top, step, fee = tier["up_to"], tier.get("step") or 1, F(tier.get("fee", 0))
        price = F(0) if fees_only else F(tier["price"])
        if rule.get("volume"):
            if top is None or (x if chooser is None else chooser) <= top or i == len(tiers) - 1:
                return (fee if x or zero else 0) + ceil(F(x, step)) * step * price
            continue
        found += fee if x > lower or (i == 0 and zero) else 0
        found += max(0, ceil(F((x if top is None else min(x, top)) - lower, step))) * step * price
        lower = top
    return found


def step_of(rule: Table, line: Table) -> F:
    """What the line adds to the exact total of its scope, nanos."""
    q, d, n, own = line["quantity_before"], line["quantity"], line["uses_before"], line["unit_price"]
    tiers: list[Table] = rule["tiers"] if own is None else [{"up_to": None, "price": own}]
    each, free, by, n_after = rule.get("each"), rule.get("free"), line["tier_quantity"], n + line["first"]
    connect, covered = F(rule.get("connect", 0)) if q == 0 < d else F(0), False
    if free and (each or free["events"] is not None):  # an allowance of single uses
        units, inside = free["units"], free["events"] is None or n_after - 1 < free["events"]
        covered = inside and (units is None or q + d < units or (q + d == units and not free["reached"]))
        step = F(tiers[0]["price"]) * (d - (min(d, max(0, (units or 0) - q)) if inside else 0))
    else:
        x, y, fees = billable(rule, q), billable(rule, q + d), bool(rule.get("carry") and own is None)
        step = total(rule, tiers, y, n_after, by, fees) - total(rule, tiers, x, n, by, fees)
        at = x + line["over_before"]
        while fees and at < y:  # started steps go on into the next tier
            tier = next((t for t in tiers if t["up_to"] is None or at < t["up_to"]), tiers[-1])
            to = y if tier["up_to"] is None or tier is tiers[-1] else min(y, tier["up_to"])
            count = ceil(F(to - at, tier.get("step") or 1)) * (tier.get("step") or 1)
            step, at = step + count * F(tier["price"]), at + count
    if each and not covered:
        step += F(each["fee"])
        step = step if each["at_least"] is None else max(step, F(each["at_least"]))
        step = step if each["at_most"] is None else min(step, F(each["at_most"]))
    return connect if covered else step + connect


def amount_of(rule: Table, exact: F, charged: int) -> int:
    """Whole nanos that are charged now: overage, floor, cap, the minimum of a use, less what was charged."""
    over = rule.get("overage")
    if over and exact > F(over["above"]):
        exact = F(over["above"]) + (exact - F(over["above"])) * F(over["factor"])
    due = floor(exact) if rule["cap_nanos"] is None else min(floor(exact), rule["cap_nanos"])
    due = max(due, rule.get("minimum_nanos", 0)) if rule["scope"] == "event" else due
    return due - charged if rule.get("falling") else max(0, due - charged)


def divide(claims: list[Table], base: int, divided: int) -> Table:
    """Nanos by account: parts of the cumulated amount, up to their caps; the last claim takes what is left."""
    left, gets = divided, {claim["account"]: 0 for claim in claims} | {c["beyond"]: 0 for c in claims if c["beyond"]}
    for claim in claims[:-1]:
        part = F(claim["fraction"])
        share = left if claim["left"] else floor((base + divided) * part) - floor(base * part)
        kept = share if claim["most"] is None else min(share, claim["most"])
        gets[claim["account"]] += kept
        left -= kept
        if claim["beyond"]:
            gets[claim["beyond"]] += share - kept
            left -= share - kept
    gets[claims[-1]["account"]] += left
    return gets


def verify(proof: Table) -> list[str]:
    """What differs, a sentence for each; nothing where the proof holds."""
    wrong: list[str] = []

    def same(what: str, expected: object, found: object) -> None:
        if expected != found:
            wrong.append(f"{what}: worked out again it is {expected}, the proof has {found}")

    for named, document in proof["tariffs"].items():
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        same(f"hash of {document['tariff']} v{document['version']}", hashlib.sha256(text.encode()).hexdigest(), named)
    for at, line in ((f"line {i}", line) for i, line in enumerate(proof["lines"])):
        document = next(d for named, d in proof["tariffs"].items() if named.startswith(line["tariff_hash"]))
        rules = [r for r in document["rules"] if r["name"] == line["rule"] and r.get("variant", "") == line["variant"]]
        if line["link"] == "pass":
            rules = [p["price"] for p in document["passes"] if p["name"] == line["rule"]]
            mine = (x for x in proof["lines"] if x["tariff_hash"] == line["tariff_hash"] and x["pass"] == line["rule"])
            listed = sum(other["amount_nanos"] for other in mine)
            same(f"{at}, quantity", max(0, listed), line["quantity"])
        if line["link"] in ("rule", "pass"):
            after = F(line["total_before"]) + step_of(rules[0], line)
            same(f"{at}, total_after", str(after), line["total_after"])
            same(f"{at}, amount_nanos", amount_of(rules[0], after, line["charged_before"]), line["amount_nanos"])
        under_pass = line["pass"] is not None or line["link"] == "sharing"
        same(f"{at}, paid_nanos", 0 if under_pass else line["amount_nanos"], line["paid_nanos"])
        shares = {share["account"]: share["nanos"] for share in line["shares"]}
        divided = line["amount_nanos"] if line["link"] == "sharing" else line["paid_nanos"]
        if line["link"] == "sharing":  # what a pass took in leaves its pool
            same(f"{at}, share of the pool", -divided, shares.pop(line["shares"][-1]["account"]))
        same(f"{at}, sum of the shares", divided, sum(shares.values()))
        if line["claims"]:
            same(f"{at}, shares", divide(line["claims"], line["base_before"], divided), shares)
    same("paid_nanos", sum(line["paid_nanos"] for line in proof["lines"]), proof["paid_nanos"])
    return wrong


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        read = json.load(file)
    differences = verify(read)
    print("\n".join(differences) or f"OK: charge {read['charge']}, {read['paid_nanos']} nanos {read['currency']}")
    sys.exit(1 if differences else 0)
