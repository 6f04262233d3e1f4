"""The pages of a worker on Faust's own web server: health, readiness, metrics, positions, and live answers.

* `GET /health` 200, or 503 where a partition is stuck: for what restarts a dead worker
* `GET /ready` 200 when all partitions are open, else 503
* `GET /metrics` for Prometheus
* `GET /position` what is done, as JSON
* `GET /payers/ID`, `GET /accounts/ID` open windows of one account, from whichever worker keeps it: 404 where nothing
  is open, 503 while nobody keeps it, 502 and 504 where its keeper cannot be reached or does not answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from faust import web
from yarl import URL

from nanotally.streams.domain.keys import partition_of
from nanotally.streams.pipeline.elsewhere import ASKED_BY, Answer, asked, later
from nanotally.streams.pipeline.metrics import Metrics

if TYPE_CHECKING:
    from nanotally.streams.pipeline.app import StageApp
    from nanotally.streams.pipeline.stage import LiveAnswers


def add_pages(app: StageApp, metrics: Metrics) -> None:
    """Adds the pages to the app's web server."""

    @app.page("/health")
    async def health(page: web.View, request: Any) -> Any:
        found = app.health()
        stuck = [one.words() for one in found if one.state == "stuck"]
        states = {one.state for one in found}
        state = next((s for s in ("stuck", "opening", "working") if s in states), "idle")
        body = {"stage": app.stage.name, "state": state, "partitions": [one.as_json() for one in found], "stuck": stuck}
        return page.json(body, status=503 if stuck else 200)

    @app.page("/ready")
    async def ready(page: web.View, request: Any) -> Any:
        lanes = app.lanes.all()
        opened = sum(lane.opened for lane in lanes)
        is_ready = bool(lanes) and opened == len(lanes)
        body = {"stage": app.stage.name, "ready": is_ready, "open": opened, "partitions": len(lanes)}
        return page.json(body, status=200 if is_ready else 503)

    @app.page("/metrics")
    async def show_metrics(page: web.View, request: Any) -> Any:
        return page.text(metrics.text(), content_type="text/plain")

    @app.page("/position")
    async def position(page: web.View, request: Any) -> Any:
        return page.json({"stage": app.stage.name, "partitions": [one.as_json() for one in app.health()]})

    if app.stage.answers:
        _add_answers(app, app.stage.answers)


def _add_answers(app: StageApp, answers: LiveAnswers) -> None:
    @app.page(f"/{answers.path}/{{account:.+}}")
    async def account(page: web.View, request: Any, account: str) -> Any:
        answer = await _answer(app, answers, account, from_worker=ASKED_BY in request.headers)
        return page.json(dict(answer.body), status=answer.status, headers=dict(answer.headers))


async def _answer(app: StageApp, answers: LiveAnswers, account: str, from_worker: bool) -> Answer:
    """This worker's own answer, or that of the worker that keeps the account."""
    partitions = app.consumer.topic_partitions(app.environment.topic(answers.topic))
    if not partitions:
        return later("this worker has not joined yet")
    partition = partition_of(account.encode(), partitions)
    lane = app.lanes.find(answers.topic, partition)
    if lane:
        found = lane.worker.account(answers.prefix + account)
        if found is None:
            return Answer(404, {"error": f"nothing open for {answers.prefix + account}"})
        return Answer(200, {"partition": partition, **found})
    keeper = _owner(app, answers.topic, partition)
    if keeper is None or from_worker:  # two workers that name each other are between two assignments
        return later(f"partition {partition} is being taken over")
    url = str(keeper.with_path(f"/{answers.path}/{quote(account, safe='')}", encoded=True))
    return await asked(url, str(app.conf.canonical_url), partition)


def _owner(app: StageApp, topic: str, partition: int) -> URL | None:
    """Web address of the worker that holds a partition, as Faust's assignor told everybody at the last rebalance."""
    name = app.environment.topic(topic)
    for address, held in app.router.external_topics_metadata().items():
        if partition in held.get(name, ()) and URL(address) != URL(app.conf.canonical_url):
            return URL(address)
    return None
