"""Progress as a picture that changes, for terminals."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dag_inference import Accepted, Heartbeat, RunChanged, TaskInstanceChanged
from dag_inference._cli import stages
from dag_inference._cli.durations import short
from dag_inference._cli.tasks import age_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from dag_inference import Event, Result, Run, TaskInstance, Timing

_STYLES = {
    "running": "bright_green",
    "success": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "queued": "yellow",
    "up_for_retry": "yellow",
    "deferred": "magenta",
    "skipped": "bright_black",
    "removed": "bright_black",
}
"""Close to the colors of Airflow's UI."""


class LiveProgress:
    """Shows run and task instances as they are now, and leaves the last picture."""

    def __init__(self) -> None:
        """Know no run yet."""
        self.run_id: str | None = None
        self._state = ""
        self._url = ""
        self._task_instances: dict[tuple[str, int | None], TaskInstance] = {}
        self._timing: Timing | None = None
        self._spinner: Spinner | None = Spinner("dots")
        self._begin = monotonic()
        self._live = Live(
            console=Console(stderr=True),
            get_renderable=self._picture,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Begin to show."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show the last picture, in which nothing turns any more."""
        self._spinner = None
        self._live.stop()

    def run_exists(self, run_id: str) -> None:
        """Show the run id."""
        self.run_id = run_id

    def event(self, event: Event) -> None:
        """Show what changed."""
        match event:
            case Accepted(run=run) | RunChanged(run=run):
                self._show(run)
            case TaskInstanceChanged(task_instance=changed):
                self._task_instances[changed.task_id, changed.map_index] = changed
            case Heartbeat(run_state=state):
                self._state = state

    def result(self, result: Result) -> None:
        """Show where the time went."""
        self._show(result.run)
        self._timing = result.timing

    def _show(self, run: Run) -> None:
        self.run_id, self._state, self._url = run.run_id, run.state, run.url

    def _picture(self) -> RenderableType:
        return Group(*self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        if self._spinner:
            self._spinner.update(text=self._headline())
            yield self._spinner
        elif self.run_id:
            yield self._headline()
        if self._url:
            yield Text(self._url, style="dim", overflow="fold")
        if self._task_instances:
            yield self._table()
        if self._timing:
            yield stages.bar(self._timing)

    def _headline(self) -> Text:
        elapsed = short(timedelta(seconds=monotonic() - self._begin))
        run = f"run {self.run_id}" if self.run_id else "waiting for a run id"
        state = Text(self._state, style=_STYLES.get(self._state, ""))
        parts = [Text(run, style="bold"), state, Text(elapsed)]
        return Text("  ").join(part for part in parts if part)

    def _table(self) -> Table:
        table = Table("task", "state", "time", box=None, header_style="dim")
        # A copy, because the picture is drawn by a thread of its own.
        for task_instance in list(self._task_instances.values()):
            state, age = task_instance.state, age_of(task_instance)
            table.add_row(
                Text(name_of(task_instance)),
                Text(state, style=_STYLES.get(state, "")),
                short(age) if age is not None else "",
            )
        return table
