"""The routes of Airflow's REST API that the gateway uses, with Airflow's statuses and texts.

Taken from `airflow/api_fastapi/core_api/routes/public` of Airflow 3.3.2.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from fakes.airflow import answers, task_logs
from fakes.airflow.state import FINISHED, RUNNING, Dag, Event, Run, TaskInstance, Version
from fakes.airflow.wire import Reply, Request

T = TypeVar("T")


class Kind(StrEnum):
    """The kinds of requests."""

    TOKEN = "token"
    VERSION = "version"
    HEALTH = "health"
    DAGS = "dags"
    DAG = "dag"
    TASKS = "tasks"
    SOURCE = "source"
    TRIGGER = "trigger"
    RUN = "run"
    PATCH_RUN = "patch_run"
    DELETE_RUN = "delete_run"
    RUNS = "runs"
    """A listing of runs."""
    INSTANCES = "instances"
    """A listing of task instances of many runs."""
    RUN_INSTANCES = "run_instances"
    """A listing of task instances of one run."""
    INSTANCE = "instance"
    VALUE = "value"
    WAIT = "wait"
    EVENTS = "events"
    LOG = "log"
    UNKNOWN = "unknown"
    """No route of Airflow that the fake has."""


class Refusal(Exception):
    """An answer with an error status, and what it says."""

    def __init__(self, status: int, detail: object) -> None:
        """Say `detail`."""
        super().__init__(detail)
        self.status = status
        self.detail = detail


def json_reply(body: object, status: int = 200) -> Reply:
    """An answer in JSON."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, text.encode(), {"content-type": "application/json"})


def refusal_reply(refusal: Refusal) -> Reply:
    """An answer with an error status, as FastAPI writes it."""
    return json_reply({"detail": refusal.detail}, refusal.status)


def invalid(kind: str, where: list[object], message: str = "It is none") -> dict[str, object]:
    """One thing that is wrong with a request, as FastAPI tells it."""
    return {"type": kind, "loc": where, "msg": message, "input": None}


RUN_ID = re.compile(r"^[A-Za-z0-9_.~:+-]+$")
FINAL = ("success", "failed")
RUN_STATES = frozenset({"queued", "running", *FINAL})
TASK_STATES = frozenset({*RUNNING, *FINISHED, "none", "scheduled", "queued", "restarting"})
TASK_STATES |= {"up_for_retry"}
PAGE = 100
DEFAULT_PAGE = 50


class Routes:
    """Answers requests from the DAGs that there are."""

    def __init__(self, dags: Mapping[str, Dag], version: str) -> None:
        """Answer from `dags`, which may change at any time, as that version would."""
        self._dags = dags
        self._version = version
        self._numbers = tuple(map(int, version.split(".")))

    def version(self, _: Request) -> Reply:
        """`GET /version`."""
        return json_reply({"version": self._version, "git_version": f".release:{self._version}"})

    def health(self, _: Request) -> Reply:
        """`GET /monitor/health`."""
        now = answers.stamp(datetime.now(UTC))
        parts = {
            part: {"status": "healthy", f"latest_{part}_heartbeat": now}
            for part in ("scheduler", "triggerer", "dag_processor")
        }
        return json_reply({"metadatabase": {"status": "healthy"}, **parts})

    def dags(self, request: Request) -> Reply:
        """`GET /dags`."""
        with_stale = _one(request, "exclude_stale") == "false"
        tags = set(request.query.get("tags", ()))
        every = _one(request, "tags_match_mode") == "all"
        found = [
            dag
            for dag in sorted(self._dags.values(), key=lambda dag: dag.dag_id)
            if (with_stale or not dag.is_stale)
            and (not tags or (tags <= {*dag.tags} if every else tags & {*dag.tags}))
        ]
        rows = [answers.dag(dag) for dag in _page(found, request)]
        return json_reply({"dags": rows, "total_entries": len(found)})

    def dag(self, _: Request, dag_id: str) -> Reply:
        """`GET /dags/{dag_id}/details`."""
        return json_reply(answers.dag_details(self._dag(dag_id)))

    def tasks(self, _: Request, dag_id: str) -> Reply:
        """`GET /dags/{dag_id}/tasks`, of the newest version."""
        dag = self._dag(dag_id)
        tasks = sorted(dag.latest.tasks, key=lambda task: task.task_id)
        rows = [answers.task(dag, task) for task in tasks]
        return json_reply({"tasks": rows, "total_entries": len(rows)})

    def source(self, request: Request, dag_id: str) -> Reply:
        """`GET /dagSources/{dag_id}`."""
        number = _one(request, "version_number")
        dag = self._dags.get(dag_id)
        found: Sequence[Version] = dag.versions if dag else ()
        version = next((v for v in reversed(found) if number in (None, str(v.number))), None)
        if dag is None or version is None:
            raise Refusal(
                404,
                f"The source code of the Dag {dag_id}, version_number {number} was not found",
            )
        if version.source is None:
            raise Refusal(404, f"Code not found. dag_id='{dag_id}' version_number='{number}'")
        return json_reply(answers.dag_source(dag, version))

    def trigger(self, request: Request, dag_id: str) -> Reply:
        """`POST /dags/{dag_id}/dagRuns`."""
        body = _trigger_body(request.body)
        dag = self._dags.get(dag_id)
        if dag is not None:
            # Before it is looked at, so that refused ones are in the log, too
            # (`airflow/api_fastapi/logging/decorators.py`).
            line = Event("trigger_dag_run", dag.clock.now(), extra='{"method": "POST"}')
            dag.log(body["dag_run_id"], line)
        if dag is None or dag.is_stale:
            raise Refusal(404, f"Dag with dag_id: '{dag_id}' not found")
        if dag.has_import_errors:
            raise Refusal(
                400, f"Dag with dag_id: '{dag_id}' has import errors and cannot be triggered"
            )
        if dag.allowed_run_types is not None and "manual" not in dag.allowed_run_types:
            raise Refusal(400, f"Dag with dag_id: '{dag_id}' does not allow manual runs")
        run_id, conf = body["dag_run_id"], body.get("conf", {})
        if not RUN_ID.match(run_id):
            raise Refusal(
                400,
                f"The run_id provided '{run_id}' does not match regex pattern "
                f"'^[A-Za-z0-9_.~:+-]+$' or '{RUN_ID.pattern}'",
            )
        if why := dag.refuse(conf or {}):
            raise Refusal(400, why)
        if run_id in dag.runs:
            raise Refusal(
                409,
                {
                    "reason": "Unique constraint violation",
                    "statement": "hidden",
                    "orig_error": "hidden",
                    "message": "Serious error when handling your request. Check logs for more "
                    "details - you will find it in api server when you look for ID abcdefgh",
                },
            )
        run = dag.trigger(run_id, conf, body.get("note"))
        reply = json_reply(answers.dag_run(run))
        asyncio.get_running_loop().call_soon(_play, run)
        return reply

    def run(self, _: Request, dag_id: str, run_id: str) -> Reply:
        """`GET /dags/{dag_id}/dagRuns/{run_id}`."""
        return json_reply(answers.dag_run(self._run(dag_id, run_id)))

    def patch_run(self, request: Request, dag_id: str, run_id: str) -> Reply:
        """`PATCH /dags/{dag_id}/dagRuns/{run_id}`; of the states, only the final ones."""
        run = self._run(dag_id, run_id)
        body: dict[str, Any] = json.loads(request.body)
        if body.get("state") not in (None, "queued", *FINAL):
            raise Refusal(422, [invalid("enum", ["body", "state"])])
        mask = request.query.get("update_mask", tuple(body))
        note = body.get("note") if "note" in mask else None
        if "state" in mask and body.get("state") in FINAL:
            run.mark(body["state"], note)
        elif note is not None:
            run.note = note
        return json_reply(answers.dag_run(run))

    def delete_run(self, _: Request, dag_id: str, run_id: str) -> Reply:
        """`DELETE /dags/{dag_id}/dagRuns/{run_id}`."""
        run = self._run(dag_id, run_id)
        if run.state == "running":
            raise Refusal(
                409,
                f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` "
                f"cannot be deleted in {run.state} state",
            )
        run.delete()
        return Reply(204)

    def runs(self, request: Request, dag_id: str) -> Reply:
        """`GET /dags/{dag_id or ~}/dagRuns`."""
        dags = self._dags.values() if dag_id == "~" else [self._dag(dag_id)]
        wanted = _Filter(
            request,
            states=RUN_STATES,
            knows_ids=True,
            knows_prefixes=self._numbers >= (3, 2, 2),
        )
        found = [
            run
            for dag in dags
            for run in dag.written_since(wanted.updated_at_gte)
            if wanted.run(run) and wanted.row(run.state, run.updated_at)
        ]
        rows = [answers.dag_run(run) for run in _page(found, request)]
        return json_reply(answers.page("dag_runs", rows, len(found)))

    def instances(self, request: Request, dag_id: str) -> Reply:
        """`GET /dags/{dag_id or ~}/dagRuns/~/taskInstances`."""
        dags = self._dags.values() if dag_id == "~" else [self._dag(dag_id)]
        since = _moment(request, "updated_at_gte")
        return self._instances(request, (run for d in dags for run in d.written_since(since)))

    def run_instances(self, request: Request, dag_id: str, run_id: str) -> Reply:
        """`GET /dags/{dag_id}/dagRuns/{run_id}/taskInstances`."""
        if dag_id == "~":
            raise Refusal(400, "dag_id is required when dag_run_id is specified")
        dag = self._dags.get(dag_id)
        if dag is None or run_id not in dag.runs:
            raise Refusal(
                404, f"DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"
            )
        return self._instances(request, [dag.runs[run_id]])

    def _instances(self, request: Request, runs: Iterable[Run]) -> Reply:
        wanted = _Filter(
            request,
            states=TASK_STATES,
            knows_ids=self._numbers >= (3, 2),
            knows_prefixes=self._numbers >= (3, 2, 2),
        )
        found = [
            (run, instance)
            for run in runs
            if wanted.run(run)
            for instance in run.instances.values()
            if wanted.instance(instance)
        ]
        found.sort(key=lambda row: row[1].map_index)
        rows = [answers.task_instance(*row) for row in _page(found, request)]
        return json_reply(answers.page("task_instances", rows, len(found)))

    def instance(
        self, _: Request, dag_id: str, run_id: str, task_id: str, map_index: str | None = None
    ) -> Reply:
        """`GET …/taskInstances/{task_id}`, and `/{map_index}` of a mapped one."""
        dag = self._dags.get(dag_id)
        run = dag.runs.get(run_id) if dag else None
        if map_index is None:
            named = f"and task_id: `{task_id}` was not found"
            message = f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}` {named}"
        else:
            named = f"task_id: `{task_id}`, and map_index: `{map_index}` was not found"
            message = (
                f"The Mapped Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, {named}"
            )
        of_task = [key for key in run.instances if key[0] == task_id] if run else []
        if run is None or not of_task:
            raise Refusal(404, message)
        if map_index is None and of_task != [(task_id, -1)]:
            raise Refusal(404, "Task instance is mapped, add the map_index value to the URL")
        instance = run.instances.get((task_id, -1 if map_index is None else int(map_index)))
        if instance is None:
            raise Refusal(404, message)
        return json_reply(answers.task_instance(run, instance))

    def value(self, request: Request, dag_id: str, run_id: str, task_id: str, key: str) -> Reply:
        """`GET …/taskInstances/{task_id}/xcomEntries/{key}`."""
        dag = self._dags.get(dag_id)
        run = dag.runs.get(run_id) if dag else None
        map_index = int(_one(request, "map_index") or -1)
        if run is None or key != "return_value" or (task_id, map_index) not in run.values:
            raise Refusal(404, f"XCom entry with key: `{key}` not found")
        return json_reply(answers.xcom(run, task_id, map_index))

    def log(
        self, request: Request, dag_id: str, run_id: str, task_id: str, try_number: str
    ) -> Reply:
        """`GET …/taskInstances/{task_id}/logs/{try_number}`, as JSON or as lines of JSON."""
        dag = self._dags.get(dag_id)
        run = dag.runs.get(run_id) if dag else None
        map_index = int(_one(request, "map_index") or -1)
        instance = run.instances.get((task_id, map_index)) if run else None
        if run is None or instance is None or int(try_number) > instance.try_number:
            raise Refusal(404, "TaskInstance not found")
        body = answers.task_log(run, task_id, map_index, int(try_number))
        if request.headers.get("accept") == "application/x-ndjson":
            lines = task_logs.ndjson(body["content"])
            return Reply(200, lines, {"content-type": "application/x-ndjson"})
        return json_reply(body)

    async def wait(self, request: Request, dag_id: str, run_id: str) -> Reply:
        """`GET /dags/{dag_id}/dagRuns/{run_id}/wait`: all lines at once, at the end."""
        run = self._run(dag_id, run_id)
        interval = float(_one(request, "interval") or 1)
        if interval <= 0:
            raise Refusal(422, [invalid("greater_than", ["query", "interval"])])
        of_tasks = request.query.get("result", ())
        lines = [answers.results(run, of_tasks)]
        while not run.is_final:
            await asyncio.sleep(interval)
            lines.append(answers.results(run, of_tasks))
        body = "".join(f"{json.dumps(line)}\n" for line in lines)
        # A stream, of which Airflow does not say what it is of.
        return Reply(200, body.encode())

    def events(self, request: Request) -> Reply:
        """`GET /eventLogs`, of one run id, whether or not there is such a run any more."""
        dag = self._dags.get(_one(request, "dag_id") or "")
        run_id = _one(request, "run_id") or ""
        after = _moment(request, "after")
        kinds = request.query.get("included_events", ())
        found = [
            event
            for event in (dag.events.get(run_id, ()) if dag else ())
            if event.event in kinds and (after is None or event.when > after)
        ]
        rows = [answers.event(dag, run_id, event) for event in _page(found, request) if dag]
        return json_reply({"event_logs": rows, "total_entries": len(found)})

    def _dag(self, dag_id: str) -> Dag:
        if dag_id not in self._dags:
            raise Refusal(404, f"The Dag with ID: `{dag_id}` was not found")
        return self._dags[dag_id]

    def _run(self, dag_id: str, run_id: str) -> Run:
        dag = self._dags.get(dag_id)
        if dag is None or run_id not in dag.runs:
            raise Refusal(
                404, f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"
            )
        return dag.runs[run_id]


def _play(run: Run) -> None:
    for step in run.dag.script:
        step(run)


class _Filter:
    """The filters of a listing. A parameter that is not known has no effect."""

    def __init__(
        self,
        request: Request,
        *,
        states: Collection[str],
        knows_ids: bool,
        knows_prefixes: bool,
    ) -> None:
        asked = request.query.get("state", ())
        if not set(asked) <= set(states):
            raise Refusal(422, f"Invalid value for state. Valid values are {', '.join(states)}")
        self._states = [None if state == "none" else state for state in asked]
        self._task_ids = request.query.get("task_id", ())
        self.updated_at_gte = _moment(request, "updated_at_gte")
        self._run_after_gte = _moment(request, "run_after_gte")
        pattern = _one(request, "run_id_prefix_pattern") if knows_prefixes else None
        self._part = (_one(request, "run_id_pattern") or "") if knows_ids else ""
        self._prefixes = [] if pattern is None else [*_prefixes(pattern)]

    def run(self, run: Run) -> bool:
        return not (
            (self._run_after_gte and run.run_after < self._run_after_gte)
            or (self._prefixes and not run.run_id.startswith(tuple(self._prefixes)))
            # What an older Airflow does with `|` in it depends on its version.
            or self._part.lower() not in run.run_id.lower()
        )

    def row(self, state: str | None, updated_at: datetime) -> bool:
        return not (
            (self._states and state not in self._states)
            or (self.updated_at_gte and updated_at < self.updated_at_gte)
        )

    def instance(self, instance: TaskInstance) -> bool:
        if self._task_ids and instance.task_id not in self._task_ids:
            return False
        return self.row(instance.state, instance.updated_at)


def _prefixes(pattern: str) -> Iterator[str]:
    """The terms of a pattern; trailing punctuation counts for nothing."""
    for term in pattern.split("|") if "|" in pattern else [pattern]:
        while term and not term[-1].isalnum():
            term = term[:-1]  # noqa: PLW2901
        yield term


def _page(rows: Sequence[T], request: Request) -> Sequence[T]:
    offset, limit = _number(request, "offset", 0), _number(request, "limit", DEFAULT_PAGE)
    return rows[offset : offset + min(limit, PAGE)]


def _one(request: Request, name: str) -> str | None:
    return next(iter(request.query.get(name, ())), None)


def _number(request: Request, name: str, otherwise: int) -> int:
    text = _one(request, name) or str(otherwise)
    if not text.isdecimal():
        raise Refusal(422, [invalid("int_parsing", ["query", name], "Input should be an integer")])
    return int(text)


def _moment(request: Request, name: str) -> datetime | None:
    text = _one(request, name)
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError as error:
        wrong = invalid("datetime_from_date_parsing", ["query", name])
        raise Refusal(422, [wrong]) from error


def _trigger_body(text: bytes) -> dict[str, Any]:
    """`TriggerDAGRunPostBody`, as far as the gateway could break it."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, [invalid("json_invalid", ["body", 0], "JSON decode error")]) from error
    known = {"dag_run_id", "data_interval_start", "data_interval_end", "logical_date"}
    known |= {"run_after", "conf", "note", "partition_key"}
    wrong = [
        invalid("extra_forbidden", ["body", key], "Extra inputs are not permitted")
        for key in body
        if key not in known
    ]
    if "logical_date" not in body:
        wrong.append(invalid("missing", ["body", "logical_date"], "Field required"))
    if not isinstance(body.get("conf", {}), dict | None):
        wrong.append(invalid("dict_type", ["body", "conf"], "Input should be a valid dictionary"))
    if wrong:
        raise Refusal(422, wrong)
    return dict(body)


Answer: TypeAlias = Callable[..., Reply | Awaitable[Reply]]

_RUN = r"/dags/([^/]+)/dagRuns/([^/]+)"

TABLE: Sequence[tuple[str, str, Kind, Answer]] = [
    (method, f"/api/v2{path}", kind, answer)
    for method, path, kind, answer in (
        ("GET", "/version", Kind.VERSION, Routes.version),
        ("GET", "/monitor/health", Kind.HEALTH, Routes.health),
        ("GET", "/dags", Kind.DAGS, Routes.dags),
        ("GET", "/dags/([^/]+)/details", Kind.DAG, Routes.dag),
        ("GET", "/dags/([^/]+)/tasks", Kind.TASKS, Routes.tasks),
        ("GET", "/dagSources/([^/]+)", Kind.SOURCE, Routes.source),
        ("POST", "/dags/([^/]+)/dagRuns", Kind.TRIGGER, Routes.trigger),
        ("GET", "/dags/([^/]+)/dagRuns", Kind.RUNS, Routes.runs),
        ("GET", _RUN, Kind.RUN, Routes.run),
        ("PATCH", _RUN, Kind.PATCH_RUN, Routes.patch_run),
        ("DELETE", _RUN, Kind.DELETE_RUN, Routes.delete_run),
        ("GET", "/eventLogs", Kind.EVENTS, Routes.events),
        ("GET", f"{_RUN}/wait", Kind.WAIT, Routes.wait),
        ("GET", "/dags/([^/]+)/dagRuns/~/taskInstances", Kind.INSTANCES, Routes.instances),
        ("GET", f"{_RUN}/taskInstances", Kind.RUN_INSTANCES, Routes.run_instances),
        ("GET", f"{_RUN}/taskInstances/([^/]+)", Kind.INSTANCE, Routes.instance),
        ("GET", rf"{_RUN}/taskInstances/([^/]+)/(-?\d+)", Kind.INSTANCE, Routes.instance),
        ("GET", rf"{_RUN}/taskInstances/([^/]+)/logs/(\d+)", Kind.LOG, Routes.log),
        (
            "GET",
            f"{_RUN}/taskInstances/([^/]+)/xcomEntries/([^/]+)",
            Kind.VALUE,
            Routes.value,
        ),
    )
]


def find(request: Request) -> tuple[Kind, Answer | None, tuple[str, ...]]:
    """The kind of a request, who answers it, and the variable parts of its path.

    Nobody does if there is no such route, and if it is one of the accounts'.
    """
    if (request.method, request.path) == ("POST", "/auth/token"):
        return Kind.TOKEN, None, ()
    for method, pattern, kind, answer in TABLE:
        if method == request.method and (found := re.fullmatch(pattern, request.path)):
            return kind, answer, found.groups()
    return Kind.UNKNOWN, None, ()
