"""What a DAG's file may use, as far as the closed reading knows what it does."""

from __future__ import annotations

import builtins

from dag_inference_server.catalog.bindings import (
    UNKNOWN,
    DagFunction,
    DagName,
    Imported,
    OfADag,
    Opaque,
    Plain,
    Scope,
    Tangled,
    Unexplained,
    Value,
)
from dag_inference_server.catalog.decorators import is_airflow

# What may be called while the file is parsed, beside what Airflow offers: nothing here
# can reach a task or a DAG that it is not given.
_EXCEPTIONS = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)
_BUILTINS = _EXCEPTIONS | frozenset(
    {"abs", "bool", "bytes", "dict", "enumerate", "float", "frozenset", "int", "len", "list"}
    | {"max", "min", "print", "range", "repr", "reversed", "round", "set", "sorted", "str"}
    | {"sum", "tuple", "zip", "bytearray", "complex", "object", "type"}
    | {"classmethod", "property", "staticmethod"}
)
_STANDARD_LIBRARY = frozenset(
    {"abc", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum"}
    | {"functools", "itertools", "json", "logging", "math", "operator", "os", "pathlib"}
    | {"pendulum", "re", "string", "sys", "textwrap", "time", "typing", "uuid", "zoneinfo"}
)
DECORATORS = frozenset(
    {"builtins.classmethod", "builtins.property", "builtins.staticmethod", "abc.abstractmethod"}
    | {"contextlib.asynccontextmanager", "contextlib.contextmanager", "dataclasses.dataclass"}
    | {"functools.cache", "functools.lru_cache", "typing.overload"}
)
"""What is known not to call what it decorates while the file is parsed."""
_OF_THE_MODULE = frozenset({"__name__", "__file__", "__doc__"})
_REFLECTING = frozenset({"builtins", "ctypes", "gc", "importlib", "inspect", "runpy"})
"""Libraries that reach what they are not given."""
WIRING = frozenset({"set_downstream", "set_upstream"})
MARKING = frozenset({"as_setup", "as_teardown"})
ON_A_DAG = frozenset({"test", "cli"})
DOCUMENTATION = frozenset({"doc", "doc_json", "doc_md", "doc_rst", "doc_yaml"})
_DECLARING = frozenset({"add_result", "result", "returns_dag_result"})
MAPPING = frozenset({"expand", "expand_kwargs"})
_LEADING_BACK = frozenset({"modules", "_getframe"})
"""Of `sys`: to the file's own names."""
PLACING = frozenset({"dag", "task_group"})
"""Arguments that put a task elsewhere than where it is made."""
NOT_FOR_CALLING = frozenset(
    {"task", "dag", "DAG", "setup", "teardown", "result", "TaskGroup", "task_group"}
)
"""What of Airflow is understood as a decorator or in a `with`, and nowhere else."""

_BUILTIN_VALUES = {name: Imported(f"builtins.{name}") for name in _BUILTINS}
_BUILTIN_IMPORTS = frozenset(_BUILTIN_VALUES.values())
Scope.builtins = {**_BUILTIN_VALUES, **dict.fromkeys(_OF_THE_MODULE, Plain())}


def explained(value: Value) -> Value:
    """A value, unless it can do what the reading does not see.

    Airflow's `result` may stand in a decorator, and nowhere else.
    """
    if isinstance(value, Imported):
        root, last = value.path.split(".", 1)[0], value.path.rsplit(".", 1)[-1]
        is_builtin = value in _BUILTIN_IMPORTS
        if root == UNKNOWN or (root in _REFLECTING and not is_builtin) or is_unsafe(last):
            raise Unexplained
    return value


def is_unsafe(attribute: str) -> bool:
    """Whether an attribute declares a result, or leads to what does."""
    return attribute in _DECLARING or attribute in _LEADING_BACK or attribute.startswith("_")


def is_standard(path: str) -> bool:
    """Whether a dotted path leads into what is known of Python's own library."""
    return path.split(".", 1)[0] in _STANDARD_LIBRARY | {"builtins"}


def _is_foreign(path: str) -> bool:
    return not (is_airflow(path) or is_standard(path))


def is_quiet_base(path: str) -> bool:
    """Whether making a subclass does not call what it defines; an `Enum` does."""
    return is_airflow(path) or path.startswith("builtins.")


def are_harmless(given: list[Value]) -> bool:
    """Whether a function that gets these can neither reach a task nor run code of the file."""
    return not any(isinstance(value, OfADag | Opaque) for value in given)


def holding(parts: list[Value]) -> Value:
    """What is made of these parts."""
    of_a_dag = [part for part in parts if isinstance(part, OfADag)]
    opaque: list[Value] = [part for part in parts if isinstance(part, Opaque)]
    if of_a_dag:
        # A DAG in a dict could become an argument that places tasks.
        if opaque or any(isinstance(part, DagName | DagFunction) for part in of_a_dag):
            raise Unexplained
        return Tangled()
    foreign: list[Value] = [
        part for part in parts if isinstance(part, Imported) and _is_foreign(part.path)
    ]
    return next(iter([*opaque, *foreign]), Plain())
