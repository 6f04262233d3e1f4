"""Settings files: what they may say, and what is read where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanotally.streams.domain.tariff import Settings
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.settings import read_settings

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo" / "settings.yaml"


def test_every_setting_is_read() -> None:
    text = """\
        lateness: 1m30s
        skew: 500ms
        horizon: 7d
        zone: America/New_York
        windows: [month, minute, day, hour]
        settlement: month
        payout_threshold: {USD: 1.00, EUR: 0.000000001}
    """
    assert read_settings(text) == Settings(
        lateness_us=90_000_000,
        skew_us=500_000,
        horizon_us=7 * 86_400_000_000,
        zone="America/New_York",
        windows=("minute", "hour", "day", "month"),
        settlement="month",
        thresholds=(("EUR", 1), ("USD", 10**9)),
    )


def test_what_is_not_said_keeps_its_default() -> None:
    assert read_settings("{}") == Settings()
    assert read_settings("lateness: 0s") == Settings(lateness_us=0)


def test_the_settings_of_the_demo() -> None:
    settings = read_settings(DEMO)
    assert (settings.settlement, settings.zone, settings.thresholds) == ("day", "UTC", (("USD", 10**9),))


@pytest.mark.parametrize(
    ("text", "field", "problem", "remedy"),
    [
        ("lateness: 60", "lateness", "'60' is no length of time", "as in 10m or 24h"),
        ("lateness: 1h 3m", "lateness", "'1h 3m' is no length of time", "as in 10m or 24h"),
        ("lateness: -1s", "lateness", "'-1s' is no length of time", "as in 10m or 24h"),
        ("latenes: 60s", "latenes", "unknown name 'latenes'", "did you mean 'lateness'?"),
        ("horizon: 0s", "horizon", "no time to tell repeats in", "as in 24h"),
        ("zone: Mars", "zone", "'Mars' is no time zone", "Europe/Berlin"),
        ("windows: [hour, week, day]", "windows", "'week' is no size", "known here: minute, hour, day, month"),
        ("windows: []", "windows", "an empty list", "[hour, day, month]"),
        ("windows: [hour]", "settlement", "'day' is none of the windows", "choose one of hour"),
        ("settlement: week", "settlement", "'week' is none of the windows", "choose one of hour, day, month"),
        ("payout_threshold: 1.00", "payout_threshold", "amounts by currency", "{USD: 1.00}"),
        ("payout_threshold: {dollars: 1.00}", "payout_threshold.dollars", "no ISO 4217 code", "as in USD"),
        ("payout_threshold: {USD: 1e-10}", "payout_threshold.USD", "finer than a nano", "nine decimal places"),
        ("payout_threshold: {USD: }", "payout_threshold.USD", "nothing where an amount is due", "1.00"),
        ("payout_threshold: {USD: -1}", "payout_threshold.USD", "below zero", "zero or more"),
        ("- lateness", "", "a list where names with values are due", "write lateness: 60s"),
        ("", "", "the file is empty", "docs"),
    ],
)
def test_the_message_says_what_and_how_to_mend_it(text: str, field: str, problem: str, remedy: str) -> None:
    with pytest.raises(TariffErrors) as raised:
        read_settings(text, "settings.yaml")
    assert [f.field for f in raised.value.findings] == [field]
    assert problem in raised.value.findings[0].problem
    assert remedy in raised.value.findings[0].remedy
    assert str(raised.value).startswith("settings.yaml:1:")
