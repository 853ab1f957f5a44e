"""Every request that the gateway makes to Airflow, with good and with bad input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDED, QUEUED, UNKNOWN = "same-ended", "same-queued", "same-unknown"
"""Ids of runs: of `same`, of `same_paused`, of neither."""

LINES = "application/x-ndjson"

PAST = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    body: Any = None
    """What is sent as JSON; bytes as they are."""
    account: str = "good"
    """Whether the token is `good`, `bad` or `none`."""
    accept: str = "application/json"
    only: str = ""
    """Of the lines of a log, only those with this key are compared: what else is logged is of no
    interest."""

    def __str__(self) -> str:
        """For the eye, and as the name of a test."""
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        sent = "" if self.body is None else f" {self.body!r}"
        return f"{self.method} {self.path}?{query}{sent} {self.account} {self.accept}"


def get(
    path: str,
    account: str = "good",
    accept: str = "application/json",
    only: str = "",
    **query: Any,
) -> Exchange:
    """A GET."""
    return Exchange("GET", f"/api/v2{path}", query, account=account, accept=accept, only=only)


def post(path: str, body: Any, account: str = "good") -> Exchange:
    """A POST."""
    return Exchange("POST", f"/api/v2{path}", body=body, account=account)


def patch(path: str, body: Any) -> Exchange:
    """A PATCH."""
    return Exchange("PATCH", f"/api/v2{path}", body=body)


def trigger(run_id: str, conf: Any = None, **others: Any) -> dict[str, Any]:
    """The body of a trigger."""
    return {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}, **others}


_RUN = f"/dags/same/dagRuns/{ENDED}"
_OF_RUN = f"{_RUN}/taskInstances"
_LISTED = {
    "run_after_gte": PAST,
    "updated_at_gte": PAST,
    "run_id_prefix_pattern": "same",
    "limit": "100",
    "offset": "0",
}

FIRST: Sequence[Exchange] = [
    post("/dags/same/dagRuns", trigger(ENDED, {"n": 2}, note="dag-inference: a note")),
    post("/dags/same_paused/dagRuns", trigger(QUEUED)),
]
"""Makes the runs that the others ask about."""

THEN: Sequence[Exchange] = [
    # The account
    Exchange(
        "POST", "/auth/token", body={"username": "admin", "password": "wrong"}, account="none"
    ),
    Exchange("POST", "/auth/token", body={"username": "", "password": ""}, account="none"),
    Exchange("POST", "/auth/token", body={"username": "admin"}, account="none"),
    get("/dags", account="none", limit=1),
    get("/dags", account="bad", limit=1),
    # Airflow itself
    get("/version", account="none"),
    get("/monitor/health", account="none"),
    # DAGs
    get("/dags", limit=1),
    get(
        "/dags",
        limit=100,
        offset=0,
        tags=["result:work"],
        tags_match_mode="all",
        exclude_stale="false",
        order_by=["dag_id"],
    ),
    get("/dags", limit="many"),
    get("/dags/same/details"),
    get("/dags/no_such/details"),
    get("/dags/same/tasks"),
    get("/dags/no_such/tasks"),
    get("/dagSources/same", version_number=1),
    get("/dagSources/same"),
    get("/dagSources/same", version_number=1000),
    get("/dagSources/no_such", version_number=1),
    # Triggers
    post("/dags/same/dagRuns", trigger(ENDED, {"n": 2})),
    post("/dags/no_such/dagRuns", trigger(UNKNOWN)),
    post("/dags/same/dagRuns", trigger("not an id")),
    post("/dags/same/dagRuns", trigger(UNKNOWN, {"n": -1})),
    post("/dags/same/dagRuns", trigger(UNKNOWN, [1])),
    post("/dags/same/dagRuns", trigger(UNKNOWN, unknown_field=1)),
    post("/dags/same/dagRuns", {"dag_run_id": UNKNOWN, "conf": {}}),
    post("/dags/same/dagRuns", b"{"),
    post("/dags/same/dagRuns", trigger(UNKNOWN), account="none"),
    # Runs
    get(_RUN),
    get(f"/dags/same_paused/dagRuns/{QUEUED}"),
    get(f"/dags/same/dagRuns/{UNKNOWN}"),
    get(f"/dags/no_such/dagRuns/{UNKNOWN}"),
    get("/dags/~/dagRuns", **_LISTED),
    get("/dags/~/dagRuns", **_LISTED, state=["success", "failed"]),
    get("/dags/~/dagRuns", **_LISTED, state=["no_such"]),
    get("/dags/~/dagRuns", **(_LISTED | {"updated_at_gte": "yesterday"})),
    get("/dags/same/dagRuns", **_LISTED),
    get("/dags/same/dagRuns", limit=1, state=["queued", "running"]),
    get("/dags/no_such/dagRuns", **_LISTED),
    get("/dags/~/dagRuns", run_id_pattern="same", state=["queued", "running"], limit=100, offset=0),
    # Task instances
    get("/dags/~/dagRuns/~/taskInstances", **_LISTED),
    get("/dags/~/dagRuns/~/taskInstances", **_LISTED, state=["success", "failed"]),
    get("/dags/~/dagRuns/~/taskInstances", **_LISTED, state=["no_such"]),
    get("/dags/same/dagRuns/~/taskInstances", **_LISTED),
    get("/dags/no_such/dagRuns/~/taskInstances", **_LISTED),
    get(_OF_RUN, limit=100, offset=0),
    get(_OF_RUN, limit=100, offset=0, task_id="work"),
    get(_OF_RUN, limit=100, offset=0, task_id="no_such"),
    get(_OF_RUN, limit=100, offset=0, state=["failed"]),
    get(f"/dags/same/dagRuns/{UNKNOWN}/taskInstances", limit=100, offset=0),
    get(f"/dags/same_paused/dagRuns/{QUEUED}/taskInstances", limit=100, offset=0),
    get(f"{_OF_RUN}/numbers"),
    get(f"{_OF_RUN}/breaks"),
    get(f"{_OF_RUN}/work"),
    get(f"{_OF_RUN}/work/1"),
    get(f"{_OF_RUN}/work/7"),
    get(f"{_OF_RUN}/no_such"),
    get(f"{_OF_RUN}/no_such/0"),
    # Values
    get(f"{_OF_RUN}/numbers/xcomEntries/return_value", map_index=-1, stringify="false"),
    get(f"{_OF_RUN}/work/xcomEntries/return_value", map_index=1, stringify="false"),
    get(f"{_OF_RUN}/breaks/xcomEntries/return_value", map_index=-1, stringify="false"),
    get(f"{_OF_RUN}/no_such/xcomEntries/return_value", map_index=-1, stringify="false"),
    get(f"{_RUN}/wait", accept=LINES, interval=1),
    get(f"{_RUN}/wait", accept=LINES, interval=1, result=["work", "numbers"]),
    get(f"{_RUN}/wait", accept=LINES, interval=1, result=["breaks"]),
    get(f"{_RUN}/wait", interval=0),
    get(f"/dags/same/dagRuns/{UNKNOWN}/wait", interval=1),
    # Logs
    get(f"{_OF_RUN}/breaks/logs/1", only="error_detail", map_index=-1),
    get(f"{_OF_RUN}/breaks/logs/1", accept=LINES, only="error_detail", map_index=-1),
    get(f"{_OF_RUN}/breaks/logs/9", accept=LINES, map_index=-1),
    get(f"{_OF_RUN}/no_such/logs/1", accept=LINES, map_index=-1),
    # Ends
    patch(f"/dags/same/dagRuns/{UNKNOWN}", {"state": "failed", "note": "why"}),
    patch(f"/dags/same_paused/dagRuns/{QUEUED}", {"state": "gone"}),
    patch(f"/dags/same_paused/dagRuns/{QUEUED}", {"state": "failed", "note": "why"}),
    get(f"/dags/same_paused/dagRuns/{QUEUED}"),
    get(f"/dags/same_paused/dagRuns/{QUEUED}/taskInstances", limit=100, offset=0),
    get(
        "/eventLogs",
        dag_id="same_paused",
        run_id=QUEUED,
        included_events=["patch_dag_run", "clear_dag_run"],
        after=PAST,
        order_by=["id"],
        limit=100,
        offset=0,
    ),
    get(
        "/eventLogs",
        dag_id="same",
        run_id=ENDED,
        included_events=["trigger_dag_run", "success", "failed"],
        after=PAST,
        order_by=["id"],
        limit=100,
        offset=0,
    ),
    get("/eventLogs", dag_id="no_such", run_id=UNKNOWN, included_events=["patch_dag_run"]),
    # Tests alone do that.
    Exchange("DELETE", f"/api/v2/dags/same/dagRuns/{UNKNOWN}"),
    Exchange("DELETE", f"/api/v2{_RUN}"),
    Exchange("DELETE", f"/api/v2/dags/same_paused/dagRuns/{QUEUED}"),
]
"""Asked when the run of `same` has ended, in this order."""
