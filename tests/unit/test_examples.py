"""The example tariffs of docs/examples cost what was worked out by hand, to the nano."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.values import instant_us
from tests.support.payers_bench import DAY, HOUR, MINUTE, SECOND, PayersBench, book, close, event, shares

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples"
FILES = sorted(FOLDER.glob("*.yaml"))
Fields = dict[str, Any]

NOON = instant_us("2026-12-02T12:00:00Z")  # a Wednesday


class Example:
    """An example tariff with a payer's partition. Each use is numbered and goes to it at once."""

    def __init__(self, name: str) -> None:
        self.bench = PayersBench(book(examine_tariff(FOLDER / name).version))
        self._uses = 0

    def use(self, at_us: int = NOON, **fields: Any) -> int:
        """What one use costs, in nanos."""
        self._uses += 1
        self.bench.take(event(f"e{self._uses}", at_us, **fields))
        assert self.bench.reasons() == []
        charge = self.charges[-1]
        assert charge["outcome"] == "charged", charge["reason"]
        paid: int = charge["paid_nanos"]
        return paid

    @property
    def charges(self) -> list[Any]:
        """Charges of uses, without what fell due."""
        return [charge for charge in self.bench.of("Charge") if charge["outcome"] != "due"]

    @property
    def shares(self) -> dict[str, int]:
        """Shares of the last use."""
        return shares(self.charges[-1])


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_it_is_read_without_a_warning_and_told_in_the_index(file: Path) -> None:
    assert examine_tariff(file).warnings == ()
    assert f"[{file.name}]({file.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_each_example_is_worked_out_here() -> None:
    tested = set(re.findall(r'Example\("([a-z-]+\.yaml)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {file.name for file in FILES}


def test_an_article_is_free_again_for_a_day_from_its_first_reading() -> None:
    article = Example("article.yaml")
    view: Fields = {"meter": "page.view", "item": "/a", "creator": "ana"}
    assert article.use(**view) == 5_000_000
    assert article.shares == {"platform": 500_000, "creator:ana": 4_500_000}
    assert article.use(NOON + DAY - 1, **view) == 0  # over midnight
    assert article.use(NOON + DAY, **view) == 5_000_000
    assert article.use(NOON + DAY, **view | {"item": "/b"}) == 5_000_000
    assert article.use(NOON + DAY, **view | {"payer": "q"}) == 5_000_000


SONG: Fields = {"product": "music", "meter": "play", "item": "aria", "creator": "ana", "scale": 3, "session": "s1"}
LABEL: Fields = {"attributes": {"item.label": "north"}}


def test_a_song_costs_by_the_second_of_the_whole_play() -> None:
    song = Example("song.yaml")
    assert song.use(quantity=20_400, **SONG, **LABEL) == 400_000  # 20.4 s are 20 s
    assert song.shares == {"platform": 40_000, "party:north": 60_000, "creator:ana": 300_000}
    assert song.use(NOON + 20 * SECOND, quantity=100, **SONG, **LABEL) == 20_000  # 20.5 s are 21 s
    assert song.use(NOON + 21 * SECOND, quantity=900, **SONG, **LABEL) == 0  # 21.4 s are 21 s still


def test_a_play_costs_at_most_four_tenths_of_a_cent_and_a_new_one_begins_after_half_an_hour() -> None:
    song = Example("song.yaml")
    assert song.use(quantity=180_000, **SONG) == 3_600_000
    assert song.shares == {"platform": 900_000, "creator:ana": 2_700_000}  # no label: its part is the platform's
    assert song.use(NOON + 3 * MINUTE, quantity=120_000, **SONG) == 400_000  # of 2,400,000: the cap
    assert song.use(NOON + 5 * MINUTE, quantity=60_000, **SONG) == 0
    assert song.use(NOON + 35 * MINUTE, quantity=10_000, **SONG) == 200_000  # half an hour after the last


def test_a_game_is_unlocked_once_for_ever() -> None:
    game = Example("game.yaml")
    chess: Fields = {"product": "games", "meter": "unlock", "item": "chess", "creator": "lab"}
    assert game.use(**chess) == 990_000_000
    assert game.shares == {"platform": 118_800_000, "creator:lab": 871_200_000}
    assert game.use(NOON + 300 * DAY, **chess) == 0
    assert game.use(NOON + 300 * DAY, **chess | {"item": "chess/extra/clock"}) == 190_000_000
    assert game.use(NOON + 301 * DAY, **chess | {"item": "chess/extra/clock"}) == 0


def test_a_day_costs_at_most_half_a_dollar_which_goes_to_all_that_was_used() -> None:
    day = Example("day-pass.yaml")
    for n in range(3):
        assert day.use(meter="page.view", item=f"/{n}", creator="ana") == 100_000_000
    film: Fields = {"product": "tv", "meter": "watch", "item": "film", "creator": "bob", "scale": 1}
    assert day.use(quantity=300, **film) == 200_000_000  # 30 minutes at 0.02 are 0.60, and 0.20 were left
    assert day.use(quantity=450, **film) == 0  # 0.90 more
    assert day.use(meter="page.view", item="/0", creator="ana") == 0
    assert day.use(NOON + DAY, meter="page.view", item="/0", creator="ana") == 100_000_000  # the next day
    due = [charge for charge in day.bench.of("Charge") if charge["outcome"] == "due"]
    assert len(due) == 1  # the first day has ended
    # List prices: 0.30 of ana, 1.50 of bob. Of the 0.50 paid a sixth, 83,333,333 nanos, is for ana's articles and the
    # others, 416,666,667, for bob's film; a tenth of each is the platform's: 8,333,333 and 41,666,666.
    moved: dict[str, int] = {}
    for line in due[0]["lines"]:
        for share in line["shares"]:
            moved[share["account"]] = moved.get(share["account"], 0) + share["nanos"]
    assert moved == {
        "pool:house/day": -500_000_000,
        "creator:ana": 75_000_000,
        "creator:bob": 375_000_001,
        "platform": 49_999_999,
    }
    assert due[0]["paid_nanos"] == 0


def test_a_lesson_costs_by_segment_and_the_first_module_nothing() -> None:
    tutor = Example("tutor.yaml")
    lesson: Fields = {"product": "tutor", "meter": "lesson", "item": "fractions-3", "creator": "ana"}

    def of(segment: str, module: str = "fractions") -> Fields:
        return lesson | {"attributes": {"segment": segment, "module": module}}

    assert tutor.use(**of("school")) == 2_000_000
    assert tutor.shares == {"platform": 400_000, "creator:ana": 1_600_000}
    assert tutor.use(**of("student")) == 4_000_000
    assert tutor.use(**of("pro")) == 20_000_000
    assert tutor.use(**of("pro")) == 20_000_000  # and again
    assert tutor.use(**of("pro", "intro")) == 0
    tutor.bench.take(event("nobody", NOON, **of("guest")))
    refused = tutor.bench.charge()
    assert (refused["outcome"], refused["reason"], refused["paid_nanos"]) == ("refused", "price", 0)


def test_a_card_on_the_dashboard_costs_a_cent_a_drive() -> None:
    car = Example("car.yaml")
    card: Fields = {"product": "dashboard", "meter": "card", "item": "parking", "creator": "city", "session": "d1"}
    maker: Fields = {"attributes": {"maker": "volt"}}
    assert car.use(**card, **maker) == 10_000_000
    assert car.shares == {"platform": 1_000_000, "party:volt": 2_500_000, "creator:city": 6_500_000}
    assert car.use(NOON + 10 * MINUTE, **card, **maker) == 0
    assert car.use(NOON + 10 * MINUTE, **card | {"item": "pharmacy"}, **maker) == 10_000_000
    assert car.use(NOON + 12 * MINUTE, **card | {"session": "d2"}, **maker) == 10_000_000


def test_a_reading_costs_a_millionth_and_the_device_is_paid() -> None:
    appliance = Example("appliance.yaml")
    reading: Fields = {"product": "grid", "meter": "reading", "item": "power", "creator": "washer-7f3a"}
    assert appliance.use(**reading) == 1_000
    assert appliance.shares == {"platform": 100, "creator:washer-7f3a": 900}
    assert appliance.use(**reading) == 1_000
    assert appliance.use(quantity=1_000_000, **reading) == 1_000_000_000  # a million of them a dollar


def test_tokens_get_cheaper_with_use_and_batches_cost_half() -> None:
    tokens = Example("tokens.yaml")
    model: Fields = {"product": "models", "item": "m-large", "creator": "lab"}
    assert tokens.use(meter="token.input", **model) == 500
    assert tokens.shares == {"platform": 25, "creator:lab": 475}
    assert tokens.use(meter="token.input", quantity=9_999_999, **model) == 4_999_999_500  # up to ten million: 5.00
    assert tokens.use(meter="token.input", quantity=1_000, **model) == 400_000
    assert tokens.use(meter="token.output", quantity=1_000, **model) == 1_500_000
    batch: Fields = {"attributes": {"mode": "batch"}}
    assert tokens.use(meter="token.input", quantity=1_000, **model, **batch) == 200_000
    assert tokens.use(meter="token.output", quantity=1, **model, **batch) == 750


def test_a_feature_is_free_three_times_a_month() -> None:
    features = Example("features.yaml")

    def use(feature: str, at_us: int = NOON) -> int:
        return features.use(at_us, product="editor", meter="feature", item="doc", attributes={"feature": feature})

    assert [use("export") for _ in range(5)] == [0, 0, 0, 20_000_000, 20_000_000]
    assert features.shares == {"platform": 20_000_000}
    assert [use("ai-summary") for _ in range(4)] == [0, 0, 0, 80_000_000]  # each feature has tries of its own
    assert use("export", NOON + 31 * DAY) == 0  # in January again


def test_an_hour_without_advertisements_begins_with_the_first() -> None:
    site = Example("ad-free.yaml")
    ad: Fields = {"meter": "ad.hidden", "creator": "herald"}
    assert site.use(**ad) == 30_000_000
    assert site.shares == {"platform": 4_500_000, "creator:herald": 25_500_000}
    assert site.use(NOON + HOUR - 1, **ad) == 0
    assert site.use(NOON + HOUR, **ad) == 30_000_000
    site.bench.take(close(NOON + DAY))
    assert len(site.charges) == 3  # nothing falls due
