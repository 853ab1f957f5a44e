"""Processes that end when we end, whatever they do."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
"""`prctl(2)`: orphans among our descendants become our children, so that none is lost."""


class ComponentFailed(Exception):
    """A process ended that should not have. The message shows the end of its log."""


@dataclass(slots=True)
class Component:
    """A process in a session of its own, with a log file of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def problem(self) -> ComponentFailed | None:
        """That it has ended, if it has."""
        code = self.process.poll()
        if code is None:
            return None
        return ComponentFailed(f"airflow {self.name} ended with {code}.\n{self.last_words()}")

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, and where the rest is."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in text)])


@dataclass(slots=True)
class Processes:
    """All that was started, so that all can be ended."""

    record: Path
    """Where it is written down, for a start after we were killed."""
    components: list[Component] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Adopt orphans from now on, where the system can do that."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> Component:
        """Start a component."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        component = Component(name, process, log)
        self.components.append(component)
        self._write_down()
        return component

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Run a command to its end.

        Raises:
            ComponentFailed: It ends with anything but 0.
        """
        component = self.start(name, command, environment, log)
        code = component.process.wait()
        self.components.remove(component)
        if code != 0:
            raise ComponentFailed(f"airflow {name} failed with {code}.\n{component.last_words()}")

    def end(self, grace: float, *, spare: Collection[int] = ()) -> None:
        """Ask everything to end, then make it.

        Args:
            grace: Seconds between asking and making.
            spare: Process ids that are somebody else's to end, with their children.
        """
        for component in self.components:
            with suppress(ProcessLookupError):
                component.process.send_signal(signal.SIGTERM)
        psutil.wait_procs(_ours(spare), timeout=grace)
        while left := _ours(spare):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        for component in self.components:
            # Whoever asked for it reaped it; `Popen` warns until it knows, too.
            component.process.poll()
        self.components.clear()
        self.record.unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """End what an earlier start left running because it was killed; how many that was."""
        if not self.record.exists():
            return 0
        left: list[psutil.Process] = []
        for pid, created in json.loads(self.record.read_text()):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created:
                    left += [process, *process.children(recursive=True), *_session(pid)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        self.record.unlink()
        return len({process.pid for process in left})

    def _write_down(self) -> None:
        entries = []
        for component in self.components:
            with suppress(psutil.NoSuchProcess):
                pid = component.process.pid
                entries.append((pid, psutil.Process(pid).create_time()))
        written = self.record.with_suffix(".new")
        written.write_text(json.dumps(entries))
        written.replace(self.record)


def _ours(spare: Collection[int]) -> list[psutil.Process]:
    """Every descendant of ours that runs, but for those that are spared and their children."""
    spared = {pid for root in spare for pid in _family(root)}
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.pid not in spared and _runs(process)
    ]


def _runs(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        # An orphan that we adopted and that ended: nobody else reaps it.
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    except psutil.NoSuchProcess:
        pass
    return False


def _family(pid: int) -> Iterable[int]:
    yield pid
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            yield child.pid


def _session(leader: int) -> Iterable[psutil.Process]:
    """The processes of a session, also those whose parents are gone."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader:
                yield process
