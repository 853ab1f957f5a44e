"""What the names of a DAG's file stand for, as far as the closed reading tells."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
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
    """A function or class of the file's own, whose inside is not read."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Something from elsewhere, by its dotted path."""

    path: str


@dataclass(frozen=True, slots=True)
class DagName:
    """A DAG, or a function that makes one."""


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

    task_id: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A task made of an operator class."""

    task_id: str


Value = Plain | Opaque | Imported | DagName | TaskFunction | Partial | TaskOutput | Operator


class Scope:
    """Names and what they stand for at one point of the file."""

    builtins: ClassVar[Mapping[str, Value]] = {}

    def __init__(
        self, outer: Scope | None = None, *, in_dag: bool = False, in_dag_function: bool = False
    ) -> None:
        """Start empty inside `outer`."""
        self._names: dict[str, Value] = {}
        self._outer = outer
        self.in_dag = in_dag
        """Whether tasks made now belong to the DAG that is read."""
        self.in_dag_function = in_dag_function

    def inside(self, *, in_dag: bool, in_dag_function: bool) -> Scope:
        """A scope that sees this one's names."""
        return Scope(self, in_dag=in_dag, in_dag_function=in_dag_function)

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

    def forget(self, statements: Iterable[ast.stmt]) -> None:
        """Let every name that these statements may bind stand for nothing known."""
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self.bind(node.id, DagName())
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self.bind(node.name, DagName())
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    self.bind_import(node)

    def look_up(self, name: str) -> Value:
        """What a name stands for; a name nobody bound is a stranger."""
        if name in self._names:
            return self._names[name]
        if self._outer is not None:
            return self._outer.look_up(name)
        return self.builtins.get(name, Imported(f"{UNKNOWN}.{name}"))
