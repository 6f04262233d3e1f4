"""`nanotally migrate`: go on in a new installation with other numbers of partitions."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from nanotally.streams import admin
from nanotally.streams.commands.migrate_carry import Carried, carry_ids, carry_untaken, publish_again, uses_since
from nanotally.streams.commands.migrate_plan import Plan, plan, refuse
from nanotally.streams.commands.output import AsJson, instant, note, progress, say_json
from nanotally.streams.commands.positions import PayersPosition, StagePosition, accounts_positions, payers_positions
from nanotally.streams.commands.rejects_reading import Source, Wanted, listed
from nanotally.streams.commands.rejects_unpriced import listed_unpriced
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound, Transient
from nanotally.streams.installation import CARRIED, MOVING, Installation
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.sealing import seal, unseal
from nanotally.streams.tariffs.books import PublishedBook, next_book
from nanotally.streams.tariffs.publishing import activate, closing, publish_next, read_published, send_control

POLL_S = 0.5
EVERY = sys.maxsize // 4  # as a limit of a listing


def migrate(
    to: Annotated[str, typer.Option("--to", metavar="PREFIX", help="NANOTALLY_PREFIX of the new installation.")],
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of usage there.")],
    account_partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of earnings there.")
    ] = admin.ACCOUNT_PARTITIONS,
    begin_anew: Annotated[bool, typer.Option("--begin-anew", help="Accept what begins to count anew.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the old workers.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Close this installation and go on in a new one, whose topics have as many partitions as you say.

    Stop what publishes, leave the old workers running. The old books are closed up to the end of the running period,
    and nothing can be published here any more. The rule book goes over, and all ids that are still told from repeats: a
    use that was taken here is a duplicate there. What is charged already stays here and does not change. Broken off,
    it goes on when it is run again.

    Example: nanotally migrate --to wide. --partitions 16
    """
    environment = Environment.load()
    moved = Move(environment, to, partitions, account_partitions, wait)
    done = moved.run(begin_anew)
    if as_json:
        say_json(done)
        return
    typer.echo(
        f"moved: {done['ids']:,} ids are known in {to!r}, {done['published_again']:,} uses that had no price or "
        f"stood in added or wrong partitions are decided there; {environment.prefix!r} is closed up to "
        f"{done['closed_to']}"
    )
    typer.echo(
        f"go on: NANOTALLY_PREFIX={to} NANOTALLY_DATABASE=... make up (or nanotally worker), then start what publishes"
    )


@dataclass
class Move:
    """From the installation of the environment to the prefix `new`."""

    environment: Environment
    new: str
    partitions: int
    account_partitions: int
    wait_s: float

    def __post_init__(self) -> None:
        self.kafka, self.old = self.environment.kafka, self.environment.prefix
        Environment.load({"NANOTALLY_PREFIX": self.new})  # says what is wrong with a prefix
        if self.new == self.old:
            raise InvalidInput(f"--to {self.new!r} is the prefix of this installation; choose another")

    def run(self, begin_anew: bool) -> dict[str, Any]:
        """All of it; gives what was done."""
        told = Installation(self.kafka, self.old).announce()
        made = told.partitions
        if told.moved_to and told.moved_to != self.new:
            raise InvalidInput(f"installation {self.old!r} was moved to {told.moved_to!r}")
        published = read_published(self.kafka, self.old)
        if not published:
            raise NotFound(
                f"{self.old!r} has no rule book: nothing was ever charged; begin with the new prefix at once"
            )
        found, controls = self._close(told.moving, published[-1], made["usage"], begin_anew)
        self._empty(controls)
        admin.create_topics(
            self.kafka, self.new, self.partitions, self.account_partitions, replicas=self.environment.replicas
        )
        carried, again = self._fill(found, published[-1], made["usage"])
        moving = _moving(self.new, found, controls)
        Installation(self.kafka, self.old).tell({MOVING: {**moving, "done": True}})
        return {
            "to": self.new,
            "ids": carried.uses,
            "published_again": again,
            "closed_to": instant(found.closes_at_us),
            "begins_anew": list(found.anew),
        }

    def _close(
        self, moving: dict[str, Any], newest: PublishedBook, made: int, begin_anew: bool
    ) -> tuple[Plan, dict[int, int]]:
        """Closes the old books, lets nobody publish; gives the plan, and by partition where the closing control is."""
        usage = f"{self.old}usage"
        every = range(admin.partition_counts(self.kafka, self.old)["usage"])
        if moving and moving["to"] == self.new:  # it was begun before
            controls = {int(p): offset for p, offset in moving["controls"].items()}
            if moving.get("done") or not uses_since(self.kafka, self.old, controls):
                seal(self.kafka, usage, every)
                return Plan(**{**moving["plan"], "anew": tuple(moving["plan"]["anew"])}), controls
            unseal(self.kafka, usage)
        found = plan(newest.book, self._payers(made), time.time_ns() // 1000)
        if not begin_anew:
            refuse(found, newest.book.settings.settlement)
        control = closing(found.closes_at_us, f"moved to {self.new}")
        controls = send_control(self.kafka, self.old, control, range(made))
        Installation(self.kafka, self.old).tell({MOVING: _moving(self.new, found, controls)})
        seal(self.kafka, usage, every)
        came = uses_since(self.kafka, self.old, controls)
        if came:
            unseal(self.kafka, usage)
            raise InvalidInput(
                f"{came:,} uses came while the books were being closed: stop what publishes to {self.old!r}, and run "
                f"this again. They are charged here; nothing was moved yet"
            )
        return found, controls

    def _empty(self, controls: dict[int, int]) -> None:
        """Waits until the old workers have taken everything."""
        until_s, said = time.monotonic() + self.wait_s, False
        while True:
            payers = self._payers(len(controls))
            late = [p for p in payers if p.next_offset <= controls[p.partition]]
            late_accounts = [p for p in self._accounts() if p.lag]
            if not late and not late_accounts:
                return
            if not said:
                note("waiting for the old workers")
                said = True
            if time.monotonic() > until_s:
                raise Transient(
                    f"the old workers have not taken everything within {self.wait_s:g} s: "
                    f"{sum(p.lag for p in [*late, *late_accounts]):,} records wait. Start them (where partitions were "
                    f"added with NANOTALLY_LEAVE_ADDED=yes) and run this again"
                )
            time.sleep(POLL_S)

    def _fill(self, found: Plan, newest: PublishedBook, made: int) -> tuple[Carried, int]:
        """Fills the new installation; gives the ids carried over, and the number of uses that are decided there."""
        new = Installation(self.kafka, self.new)
        told = new.announce()
        if told.partitions != {"usage": self.partitions, "earnings": self.account_partitions}:
            raise InvalidInput(
                f"{self.new!r} was made with other partitions ({told.partitions}); choose another prefix"
            )
        waiting = run(listed_unpriced(self.environment, Wanted(), EVERY))[0].found
        now_us = time.time_ns() // 1000
        note_ = f"moved from {self.old!r}"

        def bare(_: list[PublishedBook]) -> RuleBook:
            return RuleBook(-1, newest.book.settings, ())

        def first(published: list[PublishedBook]) -> RuleBook:
            if not published:
                return bare(published)
            if published[0].note != note_:
                raise InvalidInput(f"{self.new!r} is in use: it has rule books of its own; choose another prefix")
            return published[-1].book

        if told.carried:
            carried = Carried(0, LONG_AGO, told.carried)
        else:
            begin = publish_next(self.kafka, self.new, first, {}, note_, now_us)
            activate(self.kafka, self.new, begin, "known ids come before any tariff")
            with progress(f"ids to {self.new}") as bar:
                task = bar.add_task("", total=None, note="uses")
                carried = carry_ids(
                    self.kafka,
                    self.old,
                    self.new,
                    found.ids_from_us,
                    found.skew_us,
                    {one.place for one in waiting},
                    lambda taken: bar.update(task, completed=taken),
                )
            at_us = found.watermark_of_new_us(carried.newest_us)
            if at_us > LONG_AGO:
                send_control(self.kafka, self.new, closing(max(0, at_us), note_))
            # Whoever publishes now knows of no tariff and is refused. So what is decided by the first book was carried:
            # by that, and by its note, ClickHouse's views leave it out (sinks/migrations/0007_carried.sql).
            activate(self.kafka, self.new, publish_next(self.kafka, self.new, bare, {}, note_, now_us), "ids are known")
            new.tell({CARRIED: {str(p): offset for p, offset in carried.before.items()}})

        def second(published: list[PublishedBook]) -> RuleBook:
            history = [one.book for one in published]
            book = newest.book
            return next_book(published[-1].book, book.tariffs, None, now_us, None, history, book.catalogs)

        book = publish_next(self.kafka, self.new, second, newest.sources, note_, now_us)
        activate(self.kafka, self.new, book, note_)
        waiting += [one for one in self._wrong_partition() if one.told.what == "use" and not one.told.fault]
        again = publish_again(self.kafka, self.new, (one.told.fields for one in waiting))
        return carried, again + carry_untaken(self.kafka, self.old, self.new, made, self.partitions)

    def _wrong_partition(self) -> list[Source]:
        """Rejects that stood in the wrong partition only, as they do after some were added; not redriven since."""
        return run(listed(self.environment, Wanted(reason="wrong_partition", left=True), EVERY)).found

    def _payers(self, made: int) -> list[PayersPosition]:
        async def read() -> list[PayersPosition]:
            async with TopicReader(self.kafka, self.old) as reader:
                return await payers_positions(reader)

        return [p for p in run(read()) if p.partition < made]

    def _accounts(self) -> list[StagePosition]:
        async def read() -> list[StagePosition]:
            async with TopicReader(self.kafka, self.old) as reader:
                return await accounts_positions(reader)

        return run(read())


def _moving(new: str, found: Plan, controls: dict[int, int]) -> dict[str, Any]:
    plan_ = {**vars(found), "anew": list(found.anew)}
    return {"to": new, "plan": plan_, "controls": {str(p): offset for p, offset in controls.items()}}
