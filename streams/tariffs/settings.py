"""Settings files: every setting that changes a result, from YAML; published with the tariffs in the rule book."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nanotally.streams.domain.tariff import Settings
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.source import read_source
from nanotally.streams.tariffs.yaml_nodes import Scalar, Table, describe, parse

SIZES = ("minute", "hour", "day", "month")  # finest first
SETTING_KEYS = {
    "lateness": "60s",
    "skew": "2m",
    "horizon": "24h",
    "zone": "UTC",
    "windows": "[hour, day, month]",
    "settlement": "day",
    "payout_threshold": "{USD: 1.00}",
}


def read_settings(source: Path | str, name: str | None = None) -> Settings:
    """The settings that a file (Path) or text describes; what it does not name keeps its default.

    Raises TariffErrors with every finding; NotFound where there is no such file."""
    text, file = read_source(source, name or "settings")
    findings = Findings()
    root = parse(text, file, findings)
    section = None if root is None else Section(root, "", findings, SETTING_KEYS)
    settings = Settings()
    if section is not None and section.readable:
        settings = replace(
            settings,
            lateness_us=_duration(section, "lateness", settings.lateness_us),
            skew_us=_duration(section, "skew", settings.skew_us),
            horizon_us=_duration(section, "horizon", settings.horizon_us),
        )
        zone = section.read("zone", values.zone) if section.has("zone") else None
        settings = replace(settings, zone=zone or settings.zone)
        settings = _windows(section, settings, findings)
        settings = _thresholds(section, settings, findings)
    if settings.horizon_us == 0 and section is not None:
        findings.error(
            section.key("horizon").place, "horizon", "no time to tell repeats in", "write how long, as in 24h"
        )
    findings.raise_errors()
    return settings


def _duration(section: Section, key: str, otherwise_us: int) -> int:
    us = section.read(key, values.duration_us) if section.has(key) else None
    return otherwise_us if us is None else us


def _windows(section: Section, settings: Settings, findings: Findings) -> Settings:
    sizes = section.texts("windows") if section.has("windows") else None
    for size in sizes or ():
        if size.text not in SIZES:
            findings.error(size.place, "windows", f"{size.text!r} is no size", choose(size.text, SIZES))
    if sizes == ():
        findings.error(section.key("windows").place, "windows", "an empty list", "write windows: [hour, day, month]")
    if sizes:
        named = {s.text for s in sizes}
        settings = replace(settings, windows=tuple(s for s in SIZES if s in named))
    settlement = section.scalar("settlement") if section.has("settlement") else None
    if settlement is not None:
        settings = replace(settings, settlement=settlement.text)
    if settings.settlement not in settings.windows and not findings.failed():
        place = settlement.place if settlement is not None else section.key("windows").place
        findings.error(
            place,
            "settlement",
            f"{settings.settlement!r} is none of the windows",
            f"choose one of {', '.join(settings.windows)}, or add it to windows",
        )
    return settings


def _thresholds(section: Section, settings: Settings, findings: Findings) -> Settings:
    node = section.node_of("payout_threshold")
    if node is None:
        return settings
    if not isinstance(node, Table):
        findings.error(
            node.place,
            "payout_threshold",
            f"{describe(node)} where amounts by currency are due",
            "write payout_threshold: {USD: 1.00}",
        )
        return settings
    found: dict[str, int] = {}
    for key, value in node.entries:
        field = f"payout_threshold.{key.text}"
        if not isinstance(value, Scalar) or not value.text:
            findings.error(value.place, field, f"{describe(value)} where an amount is due", "write it as in 1.00")
            continue
        place = key.place
        try:
            currency = values.currency(key.text)
            place = value.place
            found[currency] = values.nanos(value.text, currency)
        except Unreadable as e:
            findings.unreadable(place, field, e)
    return replace(settings, thresholds=tuple(sorted(found.items())))
