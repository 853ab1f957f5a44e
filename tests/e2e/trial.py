"""Calls every random graph, and notes what the callers were told and what Airflow did.

Nothing here measures time. Held tasks keep every run from ending until all else has come to
rest, and whoever waits for more than it needs is still waiting then.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Semaphore
from typing import TypeAlias

from dag_inference import DagInferenceClient, DagInferenceError, Result
from e2e.dags.graphs import COUNT, POOL, PREFIX, Graph, Node, graphs
from e2e.ui import AirflowUi, Json, States
from e2e.waiting import eventually

Answer: TypeAlias = Result | DagInferenceError

IN_FLIGHT = frozenset({"queued", "running", "restarting", "up_for_retry", "deferred"})
FAILED = frozenset({"failed", "upstream_failed"})
FINAL = FAILED | {"success", "skipped", "removed"}

_AT_ONCE = 6
"""Calls that may be on the way to their runs at a time: the API server has few connections
to its database."""

_PATIENCE = 60
"""Seconds within which what is decided must reach a caller, on however slow a machine."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One graph, called once."""

    graph: Graph
    answer: Answer
    was_early: bool
    """Whether the answer came before the held tasks ran."""
    before: States
    """What was true when all but the held tasks had come to rest."""
    after: States
    """What was true when the run had ended."""
    run: Json
    """The run, when it had ended."""


def try_all(client: DagInferenceClient, ui: AirflowUi) -> list[Trial]:
    """Call all graphs, first with the held tasks held, then with the pool open."""
    ui.hold(POOL)
    gate = Semaphore(_AT_ONCE)
    drawn = {graph.dag_id: graph for graph in graphs()}
    with ThreadPoolExecutor(COUNT) as callers:
        calls = {dag_id: callers.submit(_call, client, dag_id, gate) for dag_id in drawn}
        before = _come_to_rest(ui, drawn)
        wait(
            [calls[d] for d, graph in drawn.items() if is_decided(graph.result, before[d])],
            timeout=_PATIENCE,
        )
        early = {dag_id for dag_id, call in calls.items() if call.done()}
        ui.release(POOL)
        runs = eventually(lambda: _ended_runs(ui), 300, every=1) or {}
        wait(calls.values(), timeout=_PATIENCE)
        after = ui.states_of_many(PREFIX)
    return [
        Trial(graph, calls[d].result(), d in early, before[d], after[d], runs[d])
        for d, graph in drawn.items()
    ]


def of_task(states: States, node: Node) -> list[str]:
    """The states of a task's instances; surplus map indexes aside."""
    found = [state for (task_id, _), state in states.items() if task_id == node.task_id]
    return [state for state in found if state != "removed"] or found


def is_decided(node: Node, states: States) -> bool:
    """Whether a result is there, or can come no more, by its own task's states alone."""
    found = of_task(states, node)
    return any(state in FAILED for state in found) or all(state in FINAL for state in found)


def failed_before(graph: Graph, states: States) -> set[str]:
    """The tasks that the result depends on and that failed themselves."""
    return {
        name for name in graph.before_result() if "failed" in of_task(states, graph.nodes[name])
    }


def _call(client: DagInferenceClient, dag_id: str, gate: Semaphore) -> Answer:
    with ExitStack() as on_the_way:
        on_the_way.enter_context(gate)
        try:
            return client.call(dag_id, timeout=900, on_run=lambda _: on_the_way.close())
        except DagInferenceError as error:
            return error


def _come_to_rest(ui: AirflowUi, drawn: Mapping[str, Graph]) -> Mapping[str, States]:
    """Wait until nothing more happens, and give the states.

    When the scheduler has begun to look at every run twice since, the second time was after
    the states were read. If that changed nothing, and nothing is with an executor or a
    worker, nothing ever will.
    """
    eventually(lambda: len(ui.runs(PREFIX)) == len(drawn), 300, every=1)
    while True:
        states = eventually(lambda: _quiet_states(ui, drawn), 300, every=1)
        for _ in range(2):
            last = _decisions(ui)
            eventually(lambda last=last: _all_newer(_decisions(ui), last), 300, every=1)  # type: ignore[misc]
        if ui.states_of_many(PREFIX) == states:
            return states


def _quiet_states(ui: AirflowUi, drawn: Mapping[str, Graph]) -> Mapping[str, States] | None:
    states = ui.states_of_many(PREFIX)
    quiet = all(_is_quiet(drawn[dag_id], of_run) for dag_id, of_run in states.items())
    return states if quiet and len(states) == len(drawn) else None


def _is_quiet(graph: Graph, states: States) -> bool:
    free = {node.task_id for node in graph.nodes.values() if not node.is_held}
    return not any(
        state in IN_FLIGHT or (state == "scheduled" and task_id in free)
        for (task_id, _), state in states.items()
    )


def _decisions(ui: AirflowUi) -> Mapping[str, str]:
    """When the scheduler last began to look at each run."""
    return {run["dag_id"]: run["last_scheduling_decision"] or "" for run in ui.runs(PREFIX)}


def _all_newer(now: Mapping[str, str], then: Mapping[str, str]) -> bool:
    return all(now[dag_id] > decided for dag_id, decided in then.items())


def _ended_runs(ui: AirflowUi) -> Mapping[str, Json] | None:
    runs = {run["dag_id"]: run for run in ui.runs(PREFIX)}
    return runs if all(run["end_date"] for run in runs.values()) else None
