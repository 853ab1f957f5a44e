"""What the decorators and `with` statements of a DAG's file say of it."""

from __future__ import annotations

import ast

from dag_inference_server.catalog.bindings import (
    UNKNOWN,
    Imported,
    Scope,
    TaskFunction,
    Unexplained,
)


def is_airflow(path: str) -> bool:
    """Whether a dotted path leads into Airflow or one of its providers."""
    return path.split(".", 1)[0] == "airflow"


def dag_id_of(function: ast.FunctionDef, scope: Scope) -> str | None:
    """The id of the DAG that a `@dag` function makes; `None` for another function."""
    makers = [d for d in function.decorator_list if _last(path_of(d, scope)) == "dag"]
    if not makers:
        return None
    if len(function.decorator_list) > 1:
        raise Unexplained
    call = makers[0]
    if not isinstance(call, ast.Call):
        return function.name
    return _dag_id(call) or function.name


def dag_of_with(node: ast.With, scope: Scope) -> tuple[str, ast.Call]:
    """The id of the DAG of a `with DAG(…)`, and the call that makes it.

    Raises:
        Unexplained: It is another `with`.
    """
    call = node.items[0].context_expr
    if len(node.items) != 1 or not isinstance(call, ast.Call):
        raise Unexplained
    if _last(path_of(call, scope)) != "DAG":
        raise Unexplained
    dag_id = _dag_id(call)
    if dag_id is None:
        raise Unexplained
    return dag_id, call


def task_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope
) -> TaskFunction | None:
    """The task that a decorated function stands for; `None` for any other definition."""
    if not node.decorator_list:
        return None
    task_id, is_task, is_result = node.name, False, False
    for decorator in node.decorator_list:
        match path_of(decorator, scope).split("."):
            case ["airflow", *_, "task"] | ["airflow", *_, "task", _]:
                is_task = True
                task_id = _task_id(decorator) or task_id
            case ["airflow", *_, "setup" | "teardown"]:
                is_task = True
            case ["airflow", *_, "result"]:
                is_result = True
            case _:
                return None
    return TaskFunction(task_id, is_result) if is_task else None


def path_of(decorator: ast.expr, scope: Scope) -> str:
    """The dotted path that an expression names or calls, through the file's imports."""
    match decorator:
        case ast.Call(func=function):
            return path_of(function, scope)
        case ast.Attribute(value=inner, attr=attribute):
            return f"{path_of(inner, scope)}.{attribute}"
        case ast.Name(id=name):
            found = scope.look_up(name)
            return found.path if isinstance(found, Imported) else f"{UNKNOWN}.{name}"
        case _:
            return UNKNOWN


def _last(path: str) -> str | None:
    return path.rsplit(".", 1)[-1] if is_airflow(path) else None


def _dag_id(call: ast.Call) -> str | None:
    """The `dag_id` of a call of `dag` or `DAG`; `None` if it names none."""
    for keyword in call.keywords:
        if keyword.arg is None:
            raise Unexplained
        if keyword.arg == "dag_id":
            return _text(keyword.value)
    return _text(call.args[0]) if call.args else None


def _task_id(decorator: ast.expr) -> str | None:
    if not isinstance(decorator, ast.Call):
        return None
    if decorator.args:
        raise Unexplained
    for keyword in decorator.keywords:
        if keyword.arg is None:
            raise Unexplained
        if keyword.arg == "task_id":
            return _text(keyword.value)
    return None


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise Unexplained
