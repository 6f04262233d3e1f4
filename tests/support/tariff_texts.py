"""A tariff file to spoil: what the tests of its reader begin with."""

from __future__ import annotations

from nanotally.streams.domain.tariff import Rule, TariffVersion
from nanotally.streams.tariffs.reader import read_tariff

FILE = """\
tariff: t
version: 1
effective_from: 2026-12-01T00:00:00Z
currency: USD
meters:
  page.view: {unit: page}
  play: {unit: second, scale: 3, needs: session}
  token.input: {unit: token}
splits:
  standard: {platform: 10%, creator: rest}
rules:
  - rule: article
    when: {meter: page.view}
    price: 0.005 per page
    count: {per: [payer, item], over: day, at_most: 1 page}
    split: standard
  - rule: song
    when: {meter: play}
    price: 0.00002 per second
    count: {per: [payer, session], over: day}
    cap: 0.004
    split: standard
  - rule: tokens-in
    when: {meter: token.input}
    graduated: {to 10M: 0.50 per 1M, to 1B: 0.40 per 1M, above: 0.25 per 1M}
    count: {per: [payer], over: month}
    split: standard
"""


def changed(old: str, new: str, file: str = FILE) -> str:
    """The file with one passage changed, which must be there exactly once."""
    assert file.count(old) == 1, f"{old!r} stands {file.count(old)} times in the file"
    return file.replace(old, new)


def rule_of(lines: str, meter: str = "{unit: page}", splits: str = "standard: {creator: rest}") -> Rule:
    """The rule that the lines after `when` (price, count, cap) make of a meter `m`."""
    return version_of(f"- rule: r\n  when: {{meter: m}}\n{indented(lines, 2)}\n  split: standard", meter, splits).rules[
        0
    ]


def version_of(rules: str, meter: str = "{unit: page}", splits: str = "standard: {creator: rest}") -> TariffVersion:
    """A version with one meter `m`, the splits and the rules."""
    head = "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\n"
    return read_tariff(
        f"{head}meters:\n  m: {meter}\nsplits:\n{indented(splits, 2)}\nrules:\n{indented(rules, 2)}\n", "t.yaml"
    )


def indented(lines: str, by: int) -> str:
    return "\n".join(" " * by + line for line in lines.splitlines())
