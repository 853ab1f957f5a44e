"""What the names of a DAG's file stand for, as far as the closed reading tells."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

UNKNOWN = "?"
"""The root of the path of a name that the file does not bind."""


class Unexplained(Exception):
    """Something that the reading does not understand: nothing is known then."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A value that has nothing to do with tasks: a number, a list, a `Param`."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A function or class of the file's own, whose inside is not read, or what holds one."""


@dataclass(frozen=True, slots=True)
class Tangled:
    """What holds a task or a DAG, or was made of one: a list of tasks, a part of an output."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Something from elsewhere, by its dotted path, or what a library made."""

    path: str


@dataclass(frozen=True, slots=True)
class DagFunction:
    """A function under `@dag`. Calling it makes the DAG."""

    dag_id: str
    node: ast.FunctionDef


@dataclass(frozen=True, slots=True)
class DagName:
    """A DAG."""

    dag_id: str


@dataclass(frozen=True, slots=True)
class TaskFunction:
    """A function under `@task`. Calling it makes the task."""

    task_id: str
    is_result: bool


@dataclass(frozen=True, slots=True)
class Partial:
    """A mapped task whose `.expand` is still to come."""

    task_id: str
    function: TaskFunction | None
    """`None` for an operator."""


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a task returns, whole."""

    dag_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A task made of an operator class."""

    dag_id: str
    task_id: str


OfADag = DagFunction | DagName | TaskFunction | Partial | TaskOutput | Operator | Tangled
Value = Plain | Opaque | Imported | OfADag


class Scope:
    """Names and what they stand for at one point of the file."""

    builtins: ClassVar[Mapping[str, Value]] = {}

    def __init__(
        self, outer: Scope | None = None, *, dag_id: str | None = None, is_class: bool = False
    ) -> None:
        """Start empty inside `outer`."""
        self._names: dict[str, Value] = {}
        self._outer = outer
        self.dag_id = dag_id
        """The DAG that tasks made now belong to."""
        self.is_class = is_class
        """Whether it is a class's body, whose names no scope inside it sees."""

    def bind(self, name: str, value: Value) -> None:
        """Let a name stand for a value from here on."""
        self._names[name] = value

    def bind_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Bind the names of an import statement."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                path = alias.name if alias.asname else alias.name.split(".", 1)[0]
                self.bind(alias.asname or path, Imported(path))
            return
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                raise Unexplained
            self.bind(alias.asname or alias.name, Imported(f"{module}.{alias.name}"))

    def look_up(self, name: str) -> Value:
        """What a name stands for; a name nobody bound is a stranger."""
        if name in self._names:
            return self._names[name]
        if self._outer is not None:
            return self._outer.look_up(name)
        return self.builtins.get(name, Imported(f"{UNKNOWN}.{name}"))
