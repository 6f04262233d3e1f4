"""One party of a split as it is written: whose account, and which part of a charge."""

from __future__ import annotations

import re
from fractions import Fraction

from nanotally.streams.domain.tariff import EVENT_FIELDS, Party
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Unreadable, choose

_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_ATTRIBUTE = re.compile(r"[^\W\d][\w.\-]*")
_LIMITED = re.compile(r"(?P<part>\S+(?: %)?) at most (?P<cap>.+?)(?:,? rest to (?P<overflow>.+))?")
_FIRST = re.compile(r"first (?P<cap>.+?)(?:,? rest to (?P<overflow>.+))?")


def read_party(account: str, text: str, currency: str) -> Party:
    """'10%', '10% at most 0.10', '10% at most 0.10 rest to party:x', 'first 10.00'. Raises Unreadable."""
    limited, first = _LIMITED.fullmatch(text), _FIRST.fullmatch(text)
    found = limited or first
    if found is None:
        return Party(account, values.fraction(text))
    if limited is not None and limited["part"] == "rest":
        raise Unreadable(f"{text!r} limits the rest", "limit the other parties, or name one that takes what is beyond")
    fraction = Fraction(1) if limited is None else values.fraction(limited["part"])
    cap = values.nanos(found["cap"], currency)
    if cap == 0:
        raise Unreadable(f"{text!r} is nothing", "take the party out")
    overflow = found["overflow"]
    if overflow is not None:
        check_account(overflow)
        if overflow == account:
            raise Unreadable(f"{text!r} sends what is beyond back to {account}", "name another party, or none")
    return Party(account, fraction, cap, overflow, of_left=limited is None)


def check_account(account: str) -> None:
    """Raises Unreadable where it is neither platform nor creator nor party:NAME."""
    if account in ("platform", "creator"):
        return
    kind, _, text = account.partition(":")
    if kind != "party":
        remedy = choose(account, ("platform", "creator")) if not text else "did you mean 'party:...'?"
        if "known" in remedy:
            remedy = f'parties are platform, creator and "party:NAME": write "party:{account}"'
        raise Unreadable(f"{account!r} is no party", remedy)
    values.label(text)
    if "{" in _TEMPLATE.sub("", text) or "}" in _TEMPLATE.sub("", text):
        raise Unreadable(f"{account!r} has a bracket without its partner", 'write "party:{item.label}"')
    for name in _TEMPLATE.findall(text):
        if not _ATTRIBUTE.fullmatch(name) or name in EVENT_FIELDS:
            raise Unreadable(f"{{{name}}} names no attribute of a use", "name one, as in {item.label} or {publisher}")
