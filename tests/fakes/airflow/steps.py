"""What can happen to a run, for the script of a DAG."""

from __future__ import annotations

from typing import Any

from fakes.airflow.state import Run, Step


def start() -> Step:
    """The run starts."""
    return Run.start


def begin(task_id: str, map_index: int = -1) -> Step:
    """A task starts."""
    return lambda run: run.begin(task_id, map_index)


def finish(task_id: str, value: Any = None, map_index: int = -1) -> Step:
    """A task returns."""
    return lambda run: run.finish(task_id, value, map_index)


def fail(task_id: str, map_index: int = -1, raises: BaseException | None = None) -> Step:
    """A task fails for good."""
    return lambda run: run.fail(task_id, map_index, raises)


def log(task_id: str, event: str, raised: BaseException | None = None) -> Step:
    """A task logs something."""
    return lambda run: run.log(task_id, event, raised)


def retry(task_id: str) -> Step:
    """A task fails, and will be tried again."""
    return lambda run: run.retry(task_id)


def expand(task_id: str, length: int) -> Step:
    """A mapped task is expanded."""
    return lambda run: run.expand(task_id, length)


def state(task_id: str, state: str, map_index: int = -1) -> Step:
    """A task gets a state without having run."""
    return lambda run: run.set_state(task_id, state, map_index)


def end(state: str = "success") -> Step:
    """The run ends."""
    return lambda run: run.end(state)


def fail_fast(task_id: str) -> Step:
    """A task fails, and with `fail_fast` all others end."""
    return lambda run: run.fail_fast(task_id)


def mark(state: str) -> Step:
    """Somebody marks the run."""
    return lambda run: run.mark(state)


def cancel(note: str | None = None) -> Step:
    """Somebody marks the run failed."""
    return lambda run: run.cancel(note)


def delete() -> Step:
    """Somebody deletes the run."""
    return Run.delete


def pause() -> Step:
    """Somebody pauses the DAG."""

    def step(run: Run) -> None:
        run.dag.is_paused = True

    return step
