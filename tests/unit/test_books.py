"""What the next rule book holds, and what it may not change."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.errors import BrokenInvariant, ExitCode, InvalidInput
from nanotally.streams.tariffs.books import BookErrors, book_of, book_record, next_book, published_book
from nanotally.streams.tariffs.reader import read_tariff

NOW = 1_796_083_200_000_000  # 2026-12-01T00:00:00Z
MINUTE = 60_000_000
LATER = "2026-12-01T01:00:00Z"

TEXT = """\
tariff: TARIFF
version: 1
effective_from: 2015-01-01T00:00:00Z
currency: USD
products: [news]
meters: {page.view: {unit: page}, play: {unit: second, scale: 3}}
splits: {standard: {platform: 10%, creator: rest}}
rules:
  - {rule: article, when: {meter: page.view}, price: 0.005 per page, split: standard}
  - {rule: song, when: {meter: play}, price: 1 per 1000000 seconds, split: standard}
"""


def version(*changes: tuple[str, str], tariff: str = "media") -> TariffVersion:
    """The tariff with passages changed."""
    text = TEXT.replace("TARIFF", tariff)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_tariff(text)


def second(*changes: tuple[str, str]) -> TariffVersion:
    """Version 2, in force an hour after NOW."""
    return version(("version: 1", "version: 2"), ("2015-01-01T00:00:00Z", LATER), *changes)


def first_book(settings: Settings | None = None) -> RuleBook:
    return replace(next_book(None, [version()], settings, NOW, 0, []), number=0)


def refused(
    versions: list[TariffVersion],
    settings: Settings | None = None,
    book: RuleBook | None = None,
    lead_us: int | None = 0,
    history: list[RuleBook] | None = None,
) -> tuple[str, ...]:
    """Why the book after the first may not hold these."""
    current = book or first_book()
    with pytest.raises(BookErrors) as raised:
        next_book(current, versions, settings, NOW, lead_us, [current] if history is None else history)
    return raised.value.problems


def test_the_first_book_takes_a_tariff_of_the_past_so_that_old_data_can_be_replayed() -> None:
    book = next_book(None, [version()], None, NOW, 10 * MINUTE, [])
    assert (book.number, book.tariffs, book.settings) == (-1, (version(),), Settings())


def test_versions_published_before_stay_and_the_new_ones_are_sorted_in() -> None:
    games = version(("[news]", "[games]"), ("2015-01-01T00:00:00Z", LATER), tariff="games")
    book = next_book(first_book(), [second(), games], None, NOW, 0, [first_book()])
    assert [(t.tariff, t.version) for t in book.tariffs] == [("games", 1), ("media", 1), ("media", 2)]


def test_settings_stay_where_none_are_given() -> None:
    settings = Settings(lateness_us=5, thresholds=(("USD", 7),))
    current = first_book(settings)
    assert next_book(current, [second()], None, NOW, 0, [current]).settings == settings
    assert next_book(current, [], Settings(lateness_us=9), NOW, 0, [current]).settings.lateness_us == 9


def test_what_changes_nothing_is_the_book_there_is() -> None:
    current = first_book()
    assert next_book(current, [version()], None, NOW, 0, [current]) is current
    assert next_book(current, [], Settings(), NOW, 0, [current]) is current


def test_a_book_without_a_tariff_is_refused() -> None:
    with pytest.raises(BookErrors, match="there is no tariff: a rule book holds one at least; name a tariff file"):
        next_book(None, [], Settings(), NOW, 0, [])


def test_a_version_never_changes() -> None:
    other = version(("0.005", "0.006"))
    was, now = version().content_hash[:16], other.content_hash[:16]
    assert refused([other]) == (
        f"media version 1 was published with other content ({was}, now {now}); a version never changes: "
        "give the new one version 2",
    )


def test_a_version_that_was_published_in_an_earlier_book_never_changes_either() -> None:
    earlier = replace(next_book(first_book(), [second()], None, NOW, 0, [first_book()]), number=1)
    current = replace(first_book(), number=2)  # without version 2
    problems = refused([second(("0.005", "0.006"))], book=current, history=[first_book(), earlier, current])
    assert problems[0].startswith("media version 2 was published with other content")
    assert problems[0].endswith("give the new one version 3")


def test_two_files_may_not_be_the_same_version() -> None:
    with pytest.raises(BookErrors, match=r"media version 1 was published with other content .* version 2"):
        next_book(None, [version(), version(("0.005", "0.006"))], None, NOW, 0, [])


def test_a_later_book_takes_nothing_that_is_in_force_before_now_and_the_lead() -> None:
    soon = second((LATER, "2026-12-01T00:09:59Z"))
    assert refused([soon], lead_us=10 * MINUTE) == (
        "media version 2 would be in force from 2026-12-01T00:09:59Z, sooner than 600 s from now; set effective_from "
        "to 2026-12-01T00:10:00Z or later, or publish it backdated: it then rates what arrives after its activation, "
        "and no charge that was made",
    )
    in_time = second((LATER, "2026-12-01T00:10:00Z"))
    assert in_time in next_book(first_book(), [in_time], None, NOW, 10 * MINUTE, [first_book()]).tariffs


def test_without_a_lead_the_past_is_refused_unless_asked_for() -> None:
    past = second((LATER, "2026-11-30T23:59:59Z"))
    assert "in force from 2026-11-30T23:59:59Z, which is past; set" in refused([past])[0]
    assert past in next_book(first_book(), [past], None, NOW, None, [first_book()]).tariffs


def test_a_version_that_another_hides_is_refused() -> None:
    second_and_third = next_book(first_book(), [second(("version: 2", "version: 3"))], None, NOW, 0, [first_book()])
    assert refused([second()], book=second_and_third) == (
        "media version 2 would never be in force: version 3 begins at the same instant; give it version 4, "
        "or another effective_from",
    )


def test_a_product_belongs_to_one_tariff() -> None:
    games = version(("[news]", "[games, news]"), ("2015-01-01T00:00:00Z", LATER), tariff="games")
    assert refused([games]) == (
        "product 'news' is claimed by tariff media and by tariff games; a product belongs to one tariff for good: "
        "take it out of `products` of the other",
    )


def test_one_tariff_at_most_takes_what_no_other_claims() -> None:
    everything = [version(("products: [news]\n", ""), tariff=name) for name in ("a", "b")]
    with pytest.raises(BookErrors) as raised:
        next_book(None, everything, None, NOW, 0, [])
    assert raised.value.problems == (
        "tariffs a and b name no products, so each would take all that no other claims; "
        "list `products` in all but one of them",
    )
    assert len(next_book(None, [version(), everything[0]], None, NOW, 0, []).tariffs) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("currency: USD", "currency: EUR"),
            "media version 2: the currency is EUR, in version 1 'USD'; a tariff's currency never changes: publish "
            "another tariff for the other currency",
        ),
        (
            ("scale: 3", "scale: 2"),
            "media version 2: meter 'play' counts second at scale 2, in version 1 second at scale 3; a meter never "
            "changes: give the other one another name",
        ),
        (
            ("unit: page", "unit: sheet"),
            "media version 2: meter 'page.view' counts sheet at scale 0, in version 1 page at scale 0; a meter never "
            "changes: give the other one another name",
        ),
    ],
)
def test_money_and_meters_of_a_tariff_never_change(change: tuple[str, str], problem: str) -> None:
    text = second(change) if change[0] != "unit: page" else second(change, ("per page", "per sheet"))
    assert refused([text]) == (problem,)


def test_a_rule_keeps_its_meter() -> None:
    swapped = second(("rule: song", "rule: x"), ("rule: article", "rule: song"), ("rule: x", "rule: article"))
    remedy = "what a rule has counted is kept under its name: give the rule of the other meter another name"
    assert refused([swapped]) == (
        f"media version 2: rule 'song' is for meter 'page.view', in version 1 'play'; {remedy}",
        f"media version 2: rule 'article' is for meter 'play', in version 1 'page.view'; {remedy}",
    )


def test_what_a_tariff_needs_of_a_meter_may_change() -> None:
    assert next_book(first_book(), [second(("scale: 3", "scale: 3, needs: session"))], None, NOW, 0, [first_book()])


def test_prices_of_one_rule_share_a_fraction_of_a_nano_over_all_versions() -> None:
    odd = [
        second(("1 per 1000000 seconds", "1 per 999999999999989 seconds")),
        second(
            ("version: 2", "version: 3"),
            (LATER, "2026-12-01T02:00:00Z"),
            ("1 per 1000000 seconds", "1 per 10007 seconds"),
        ),
    ]
    assert next_book(first_book(), odd[:1], None, NOW, 0, [first_book()])
    assert next_book(first_book(), odd[1:], None, NOW, 0, [first_book()])
    assert refused(odd) == (
        "media version 3: rule 'song' has prices that share no fraction of a nano down to 1/2^62 with those of "
        "earlier versions, so remainders could not be carried on; write prices with fewer digits, or give the rule "
        "another name",
    )


def test_fractions_of_a_nano_are_shared_by_variants_and_versions_and_by_passes_for_themselves() -> None:
    by = "price: {by: segment, a: 1 per 999999999999989 seconds, otherwise: 1 per 1000000 seconds}"
    variants = second(("price: 1 per 1000000 seconds", by))
    third = version(
        ("version: 1", "version: 3"),
        ("2015-01-01T00:00:00Z", "2026-12-01T02:00:00Z"),
        ("1 per 1000000 seconds", "1 per 10007 seconds"),
    )
    assert [problem.split(" has ")[0] for problem in refused([variants, third])] == ["media version 3: rule 'song'"]
    passed = second(
        ("rules:", "passes: [{pass: p, covers: [song], count: {over: day}, discount: 1/999999937}]\nrules:")
    )
    (one,) = passed.passes
    assert one.price.denominator == 999_999_937
    finer = replace(one.price, tiers=(replace(one.price.tiers[0], price=Fraction(1, 10007 * 999_983)),))
    other = replace(passed, version=3, effective_from_us=NOW + 2 * 60 * MINUTE, passes=(replace(one, price=finer),))
    assert [problem.split(" has ")[0] for problem in refused([passed, other])] == ["media version 3: pass 'p'"]


@pytest.mark.parametrize(
    ("settings", "name", "now", "was"),
    [
        (Settings(zone="Europe/Berlin"), "zone", "Europe/Berlin", "UTC"),
        (Settings(windows=("day", "month")), "windows", "day, month", "hour, day, month"),
        (Settings(settlement="month"), "settlement", "month", "day"),
    ],
)
def test_the_first_book_fixes_how_time_is_cut(settings: Settings, name: str, now: str, was: str) -> None:
    assert refused([], settings) == (
        f"settings: {name} is {now} where the first book has {was}; it is fixed for the life of an installation, "
        f"since closed windows would not add up: write {name}: {was}",
    )


def test_lateness_skew_horizon_and_thresholds_may_change() -> None:
    settings = Settings(lateness_us=1, skew_us=2, horizon_us=3, thresholds=(("USD", 4),))
    assert next_book(first_book(), [], settings, NOW, 0, [first_book()]).settings == settings


def test_a_book_of_a_newer_program_is_not_continued_by_an_older_one() -> None:
    newer = replace(first_book(), settings=Settings(semantics=99))
    assert refused([second()], book=newer) == (
        "the rule book in force asks for semantics 99, this nanotally knows 1; publish with the newer one",
    )


def test_all_reasons_are_told_at_once() -> None:
    problems = refused(
        [second((LATER, "2026-01-01T00:00:00Z"), ("currency: USD", "currency: EUR"))], Settings(zone="CET")
    )
    assert [p.split(";")[0][:40] for p in problems] == [
        "media version 2 would be in force from 2",
        "media version 2: the currency is EUR, in",
        "settings: zone is CET where the first bo",
    ]
    error = BookErrors(problems)
    assert isinstance(error, InvalidInput)
    assert error.exit_code is ExitCode.INVALID
    assert str(error) == "\n".join(problems)


# ---- the record in topic `books` ----


def test_a_book_is_read_back_with_the_files_as_they_were_written() -> None:
    book = first_book(Settings(thresholds=(("USD", 10**9),)))
    value = book_record(book, NOW, "why", {("media", 1): TEXT})
    assert book_of(value, 0) == book
    published = published_book(value, 5)
    assert (published.book.number, published.published_at_us, published.note) == (5, NOW, "why")
    assert published.sources == {("media", 1): TEXT}
    assert published.book.book_hash == book.book_hash


def spoiled(**changes: object) -> bytes:
    name, record = codec.decode_one(book_record(first_book(), NOW, "", {}))
    tariff = {k: v for k, v in changes.items() if k in record["tariffs"][0]}
    record["tariffs"][0] |= tariff
    record |= {k: v for k, v in changes.items() if k not in tariff}
    return codec.encode_one(name, record)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the record at offset 3 of topic books is no rule book"),
        (b"", "the record at offset 3 of topic books is no rule book"),
        (codec.encode_one("Control", {"control_id": "c", "kind": "tick"}), "is a Control, not a RuleBook"),
        (spoiled(settings="{}"), "the record at offset 3 of topic books is no rule book"),
        (spoiled(settings="no"), "the record at offset 3 of topic books is no rule book"),
        (spoiled(document="[]"), "the record at offset 3 of topic books is no rule book"),
        (spoiled(document=version(("0.005", "0.006")).canonical), "rule book 3 has media version 1 with hash"),
        (spoiled(content_hash="0" * 64), "and says it is 0000000000000000: it was damaged"),
        (spoiled(book_hash="0" * 64), "rule book 3 has hash .*, and says it is 0000000000000000"),
        (spoiled(settings=Settings(lateness_us=1).document().__repr__().replace("'", '"')), "rule book 3 has hash"),
    ],
)
def test_a_damaged_book_is_a_broken_invariant(value: bytes | None, message: str) -> None:
    with pytest.raises(BrokenInvariant, match=message):
        book_of(value, 3)
