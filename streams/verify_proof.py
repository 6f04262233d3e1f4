"""Verifies what `nanotally explain CHARGE --proof` wrote: python verify_proof.py FILE. Needs nothing but Python 3.9.

Works the charge out again from the tariff in the file, in exact fractions: says OK, or what differs and ends with 1.
The format, and what is left to check, is in docs/proofs.md."""

import hashlib
import json
import sys
from collections.abc import Iterator
from fractions import Fraction as F
from math import floor
from typing import Any

Table = dict[str, Any]


def up(x: int, step: int) -> int:
    return -(-x // step) * step


def priced(rule: Table, x: int) -> int:
    """What of a cumulated quantity is priced: rounded and allowance off, in the order that the rule says."""
    free, how = rule.get("free") or {}, rule.get("rounding") or {"event": True}
    units, step = free.get("units") or 0, 1 if how["event"] else how["step"]  # single uses are rounded already
    shift = 0 if how["event"] else {"up": 2 * step - 1, "half_up": step, "down": 0}[how["mode"]]
    x = max(0, x - units) if not free.get("after_rounding") else x
    x = (2 * x + shift) // (2 * step) * step
    return max(0, x - units) if free.get("after_rounding") else x


def total(rule: Table, tiers: list[Table], x: int, uses: int, by: int) -> F:
    """The price of a priced quantity after so many uses, exact nanos, tier by tier; `by` chooses a volume tier."""
    found, lower, zero = F(0), 0, rule.get("zero_fee") and uses > 0
    for i, tier in enumerate(tiers):
        top, price, fee, step = tier["up_to"], F(tier["price"]), F(tier.get("fee", 0)), tier.get("step") or 1
        if rule.get("volume") and (tier is tiers[-1] or by <= top):
            return up(x, step) * price + (fee if x or zero else 0)
        if not rule.get("volume"):
            found += max(0, up((x if tier is tiers[-1] else min(x, top)) - lower, step)) * price
            found += fee if x > lower or (i == 0 and zero) else 0
            lower = top
    return found


def step_of(rule: Table, line: Table) -> F:
    """What the line adds to the exact total of its scope, nanos."""
    q, d, n, own, by = (line[k] for k in ("quantity_before", "quantity", "uses_before", "unit_price", "tier_quantity"))
    most, tiers = (rule.get("price_from") or {}).get("up_to"), rule["tiers"]
    if own is not None:  # the price came with the use; beyond `most` nothing is charged
        tiers = [{"up_to": most, "price": own}] + ([] if most is None else [{"up_to": None, "price": 0}])
    each, free, after = rule.get("each"), rule.get("free"), n + line["first"]
    connect, step = F(rule.get("connect", 0)) if q == 0 < d else F(0), F(0)
    if free and (each or free["events"] is not None):  # an allowance of single uses
        units, inside = free["units"], free["events"] is None or after - 1 < free["events"]
        if inside and (units is None or q + d < units or (q + d == units and not free["reached"])):
            return connect
        step = F(tiers[0]["price"]) * (d - (min(d, max(0, (units or 0) - q)) if inside else 0))
    else:
        x, y, carry = priced(rule, q), priced(rule, q + d), rule.get("carry") and own is None
        fees = [tier | {"price": 0} for tier in tiers] if carry else tiers
        step = total(rule, fees, y, after, y if by is None else by) - total(rule, fees, x, n, x if by is None else by)
        at = x + line["over_before"]
        while carry and at < y:  # started steps go on into the next tier
            tier = next((t for t in tiers[:-1] if at < t["up_to"]), tiers[-1])
            count = up((y if tier is tiers[-1] else min(y, tier["up_to"])) - at, tier.get("step") or 1)
            step, at = step + count * F(tier["price"]), at + count
    if each:
        step = step + F(each["fee"])
        step = step if each["at_least"] is None else max(step, F(each["at_least"]))
        step = step if each["at_most"] is None else min(step, F(each["at_most"]))
    return step + connect


def amount_of(rule: Table, exact: F, charged: int) -> int:
    """Whole nanos that are charged now: overage, floor, cap, the minimum of a use, less what was charged."""
    over, cap, least = rule.get("overage"), rule["cap_nanos"], rule.get("minimum_nanos", 0)
    if over and exact > F(over["above"]):
        exact = F(over["above"]) + (exact - F(over["above"])) * F(over["factor"])
    due = floor(exact) if cap is None else min(floor(exact), cap)
    due = max(due, least) if rule["scope"] == "event" else due
    return due - charged if rule.get("falling") else max(0, due - charged)


def divide(claims: list[Table], base: int, divided: int) -> Table:
    """Nanos by account: parts of the cumulated amount, up to their caps; the last claim takes what is left."""
    left, gets = divided, {c["account"]: 0 for c in claims} | {c["beyond"]: 0 for c in claims if c["beyond"]}
    for claim in claims[:-1]:
        part = F(claim["fraction"])
        share = left if claim["left"] else floor((base + divided) * part) - floor(base * part)
        kept = share if claim["most"] is None else min(share, claim["most"])
        for account, nanos in ((claim["account"], kept), (claim["beyond"], share - kept)):
            if account:
                gets[account], left = gets[account] + nanos, left - nanos
    gets[claims[-1]["account"]] += left
    return gets


def facts(proof: Table) -> Iterator[tuple[str, object, object]]:
    """What there is to compare: name, as worked out here, as the proof has it."""
    for named, tariff in proof["tariffs"].items():
        text = json.dumps(tariff, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        yield f"hash of {tariff['tariff']} v{tariff['version']}", hashlib.sha256(text.encode()).hexdigest(), named
    for number, line in enumerate(proof["lines"]):
        at, link, terms, divided = f"line {number}", line["link"], [], line["paid_nanos"]
        tariff = next(t for named, t in proof["tariffs"].items() if named.startswith(line["tariff_hash"]))
        if link == "rule":
            named = line["rule"], line["variant"]
            terms = [rule for rule in tariff["rules"] if (rule["name"], rule.get("variant", "")) == named]
        elif link == "pass":  # a use of what the lines that it settles cost by list
            terms = [p["price"] for p in tariff["passes"] if p["name"] == line["rule"]]
            named = line["rule"], line["tariff_hash"]
            listed = sum(x["amount_nanos"] for x in proof["lines"] if (x["pass"], x["tariff_hash"]) == named)
            yield f"{at}, quantity", max(0, listed), line["quantity"]
        for rule in terms[:1]:
            after = F(line["total_before"]) + step_of(rule, line)
            yield f"{at}, total_after", str(after), line["total_after"]
            yield f"{at}, amount_nanos", amount_of(rule, after, line["charged_before"]), line["amount_nanos"]
        paid = 0 if line["pass"] is not None or link == "sharing" else line["amount_nanos"]
        yield f"{at}, paid_nanos", paid, line["paid_nanos"]
        shares = {share["account"]: share["nanos"] for share in line["shares"]}
        if link == "sharing":  # what a pass took in leaves its pool
            divided = line["amount_nanos"]
            yield f"{at}, share of the pool", -divided, shares.pop(line["shares"][-1]["account"])
        yield f"{at}, sum of the shares", divided, sum(shares.values())
        if line["claims"]:
            yield f"{at}, shares", divide(line["claims"], line["base_before"], divided), shares
    yield "paid_nanos", sum(line["paid_nanos"] for line in proof["lines"]), proof["paid_nanos"]


def verify(proof: Table) -> list[str]:
    """What differs, a sentence for each; nothing where the proof holds."""
    said = "{}: worked out again it is {}, the proof has {}"
    return [said.format(what, expected, found) for what, expected, found in facts(proof) if expected != found]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        read = json.load(file)
    differences = verify(read)
    print("\n".join(differences) or f"OK: charge {read['charge']}, {read['paid_nanos']} nanos {read['currency']}")
    sys.exit(1 if differences else 0)
