"""What a person can see and do in Airflow's UI, by the API that the UI uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

Json: TypeAlias = dict[str, Any]
States: TypeAlias = Mapping[tuple[str, int], str]
"""The states of task instances by task id and map index."""

PAGE = 100


@dataclass(frozen=True)
class AirflowUi:
    """Somebody with all rights, at an Airflow."""

    url: str
    username: str
    password: str

    # Pools

    def hold(self, pool: str) -> None:
        """Leave a pool no slots, so that what is in it waits. It is made if it is not there."""
        self._resize_pool(pool, 0)

    def release(self, pool: str) -> None:
        """Let what is in a pool run."""
        self._resize_pool(pool, 100)

    def _resize_pool(self, name: str, slots: int) -> None:
        pool = {"slots": slots, "description": "", "include_deferred": False}
        if self._found(f"/pools/{name}"):
            self._ask("PATCH", f"/pools/{name}", pool | {"pool": name})
        else:
            self._ask("POST", "/pools", pool | {"name": name})

    # DAGs

    def version(self, dag_id: str) -> int:
        """The newest version of a DAG; 0 if there is none."""
        details = self._found(f"/dags/{dag_id}/details")
        return details["latest_dag_version"]["version_number"] if details else 0

    def details(self, dag_id: str) -> Json:
        """All that Airflow says of a DAG."""
        return self._ask("GET", f"/dags/{dag_id}/details")

    def parse(self, dag_id: str) -> None:
        """Have the file of a DAG parsed now, which is else done when its turn comes."""
        self._ask("PUT", f"/parseDagFile/{self.details(dag_id)['file_token']}")

    # Runs

    def run(self, dag_id: str, run_id: str) -> Json:
        """A run."""
        return self._ask("GET", _path(dag_id, run_id))

    def runs(self, dags: str) -> list[Json]:
        """The runs of all DAGs whose ids begin like this."""
        return [*self._pages("/dags/~/dagRuns", "dag_runs", {"dag_id_prefix_pattern": dags})]

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Make a run that is not the gateway's."""
        body: Json = {"dag_run_id": run_id, "logical_date": None, "conf": {}}
        self._ask("POST", f"/dags/{dag_id}/dagRuns", body)

    def accepts(self, dag_id: str, run_id: str, conf: Json) -> bool:
        """Whether a run can be made with a conf; if so, it is made."""
        body: Json = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        try:
            self._ask("POST", f"/dags/{dag_id}/dagRuns", body)
        except HTTPError as error:
            with error:
                if error.code == 400:
                    return False
            raise
        return True

    def mark(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a run."""
        self._ask("PATCH", _path(dag_id, run_id), {"state": state})

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark one task of a run."""
        where = f"{_path(dag_id, run_id)}/taskInstances/{task_id}"
        self._ask("PATCH", where, {"new_state": state})

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Let tasks of a run run again, whatever came of them; all of them if none is named."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id}
        named = {"task_ids": task_ids} if task_ids else {}
        self._ask("POST", f"/dags/{dag_id}/clearTaskInstances", body | named)

    def delete(self, dag_id: str, run_id: str) -> None:
        """Delete a run, which must not be running."""
        self._ask("DELETE", _path(dag_id, run_id))

    # Task instances

    def states(self, dag_id: str, run_id: str) -> States:
        """The states of a run's task instances."""
        return _states(self._pages(f"{_path(dag_id, run_id)}/taskInstances", "task_instances"))

    def state(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The state of a task that has no map indexes."""
        return self.states(dag_id, run_id)[task_id, -1]

    def states_of_many(self, dags: str) -> Mapping[str, States]:
        """By DAG, the states of the task instances of all DAGs whose ids begin like this."""
        path, wanted = "/dags/~/dagRuns/~/taskInstances", {"dag_id_prefix_pattern": dags}
        by_dag: dict[str, list[Json]] = {}
        for instance in self._pages(path, "task_instances", wanted):
            by_dag.setdefault(instance["dag_id"], []).append(instance)
        return {dag_id: _states(instances) for dag_id, instances in by_dag.items()}

    def value(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task instance returned."""
        where = f"{_path(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        entry = self._found(f"{where}?map_index={map_index}")
        return entry["value"] if entry else None

    def _pages(
        self, path: str, name: str, wanted: Mapping[str, str] | None = None
    ) -> Iterator[Json]:
        """The rows of a listing."""
        offset, total = 0, 1
        while offset < total:
            query = {"limit": PAGE, "offset": offset, "order_by": "id", **(wanted or {})}
            page = self._ask("GET", f"{path}?{urlencode(query)}")
            rows: Sequence[Json] = page[name]
            yield from rows
            offset, total = offset + PAGE, page["total_entries"]

    def _found(self, path: str) -> Json | None:
        try:
            return self._ask("GET", path)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self._token}"}
        return _answer(Request(f"{self.url}/api/v2{path}", _encoded(body), headers, method=method))

    @cached_property
    def _token(self) -> str:
        body = _encoded({"username": self.username, "password": self.password})
        token: str = _answer(Request(f"{self.url}/auth/token", body))["access_token"]
        return token


def _encoded(body: Json | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _answer(request: Request) -> Json:
    request.add_header("Content-Type", "application/json")
    with urlopen(request, timeout=60) as answer:
        answered: Json = json.loads(answer.read() or b"{}")
    return answered


def _path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _states(instances: Iterator[Json] | Sequence[Json]) -> States:
    return {(i["task_id"], i["map_index"]): i["state"] or "none" for i in instances}
