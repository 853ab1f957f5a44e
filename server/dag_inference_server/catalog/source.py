"""Which tasks a DAG's file declares as its result: a closed reading of its source.

Airflow stores the declaration (`@result`, `dag.add_result(x)`, the value that a `@dag`
function returns; `airflow/sdk/definitions/dag.py` and `decorators/__init__.py` of
Airflow 3.3) only as a flag on the values of a run. Before a run has ended, the
file is the only place that tells.

The reading is closed: the file is taken as a syntax tree and never run, and every
statement that could bear on the DAG has to be one that is understood here.
Straight-line code that calls task functions and operators is; loops, branches,
factories, task groups, `.override` and everything reached through code that is
not in the file are not. Then nothing is known, which is always a safe answer.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable

from dag_inference_server.catalog.bindings import (
    UNKNOWN,
    DagName,
    Imported,
    Opaque,
    Operator,
    Partial,
    Plain,
    Scope,
    TaskFunction,
    TaskOutput,
    Unexplained,
    Value,
)
from dag_inference_server.catalog.decorators import (
    dag_id_of,
    dag_id_of_with,
    is_airflow,
    task_function,
)


def declared_results(source: str, dag_id: str, task_ids: Iterable[str]) -> frozenset[str] | None:
    """Read which tasks of a DAG are declared as its result.

    Args:
        source: The text of the DAG's file.
        dag_id: The DAG; the file may hold others.
        task_ids: All of the DAG's tasks, as Airflow knows them.

    Returns:
        The declared tasks, empty if certainly none; `None` if it cannot be told.
    """
    try:
        tree = ast.parse(source)
        reading = _Reading(dag_id)
        reading.module(tree)
        reading.nothing_left_out(tree)
    except (SyntaxError, ValueError, RecursionError, Unexplained):
        return None
    accounted_for = Counter(reading.created) == Counter(set(task_ids))
    return frozenset(reading.declared) if reading.found and accounted_for else None


# What may be called while the file is parsed, beside what Airflow and the
# standard library offer: nothing here can reach a DAG that it is not given.
_BUILTINS = frozenset(
    {"abs", "bool", "bytes", "dict", "enumerate", "float", "frozenset", "int", "len", "list"}
    | {"max", "min", "print", "range", "repr", "reversed", "round", "set", "sorted", "str"}
    | {"sum", "tuple", "zip"}
)
_STANDARD_LIBRARY = frozenset(
    {"collections", "datetime", "decimal", "functools", "itertools", "json", "logging", "math"}
    | {"operator", "os", "pathlib", "pendulum", "re", "string", "sys", "textwrap", "time"}
    | {"typing", "uuid", "zoneinfo"}
)
_WIRING = frozenset({"set_downstream", "set_upstream", "as_setup", "as_teardown"})
_ON_A_DAG = frozenset({"test", "cli"})
_DOCUMENTATION = frozenset({"doc", "doc_json", "doc_md", "doc_rst", "doc_yaml"})
_DECLARING = frozenset({"add_result", "result", "returns_dag_result"})
_MAPPING = frozenset({"expand", "expand_kwargs"})


class _Reading:
    """One pass over a file, top to bottom, as Python would execute it."""

    def __init__(self, dag_id: str) -> None:
        self.dag_id = dag_id
        self.found = False
        self.created: list[str] = []
        self.declared: set[str] = set()
        self.add_results = 0

    def module(self, tree: ast.Module) -> None:
        scope = Scope()
        for statement in tree.body:
            self.statement(statement, scope)

    def nothing_left_out(self, tree: ast.Module) -> None:
        """Every declaration of the file, also in code that is not read, has to be explained."""
        add_results = 0
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr="add_result"):
                    add_results += 1
                case ast.Attribute(attr="returns_dag_result"):
                    raise Unexplained
                case ast.Constant(value="add_result" | "returns_dag_result"):
                    raise Unexplained
                case _:
                    pass
        if add_results != self.add_results:
            raise Unexplained

    # Statements

    def statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                scope.bind_import(node)
            case ast.FunctionDef():
                self.function(node, scope)
            case ast.AsyncFunctionDef() | ast.ClassDef():
                scope.bind(node.name, task_function(node, scope) or Opaque())
            case ast.With():
                self.with_dag(node, scope)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                scope.bind(name, self.value(value, scope))
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=attribute)], value=value):
                if attribute not in _DOCUMENTATION:
                    raise Unexplained
                self.value(value, scope)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                scope.bind(name, self.value(value, scope))
            case ast.AnnAssign(value=None) | ast.Pass():
                pass
            case ast.Expr(value=value):
                self.value(value, scope)
            case ast.Return() if scope.in_dag_function:
                self.returned(node.value, scope)
            case ast.If(test=test, orelse=[]) if _never_at_parse_time(test):
                pass
            case _:
                raise Unexplained

    def function(self, node: ast.FunctionDef, scope: Scope) -> None:
        found = dag_id_of(node, scope)
        if found is None:
            scope.bind(node.name, task_function(node, scope) or Opaque())
            return
        scope.bind(node.name, DagName())
        if found == self.dag_id:
            self.enter()
            inner = scope.inside(in_dag=True, in_dag_function=True)
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    inner.bind(argument.arg, Plain())
            for statement in node.body:
                self.statement(statement, inner)

    def with_dag(self, node: ast.With, scope: Scope) -> None:
        found = dag_id_of_with(node, scope)
        name = node.items[0].optional_vars
        if isinstance(name, ast.Name):
            scope.bind(name.id, DagName())
        elif name is not None:
            raise Unexplained
        if found == self.dag_id:
            self.enter()
            # The body of a `with` has no names of its own.
            scope.in_dag = True
            for statement in node.body:
                self.statement(statement, scope)
            scope.in_dag = False
        else:
            scope.forget(node.body)

    def enter(self) -> None:
        if self.found:
            raise Unexplained
        self.found = True

    def returned(self, node: ast.expr | None, scope: Scope) -> None:
        """A `@dag` function's value is its result if it is a task's plain return value."""
        value = self.value(node, scope) if node else Plain()
        if isinstance(value, TaskOutput):
            self.declared.add(value.task_id)
        elif not (node is None or (isinstance(node, ast.Constant) and node.value is None)):
            raise Unexplained

    # Expressions

    def value(self, node: ast.expr, scope: Scope) -> Value:
        match node:
            case ast.Name(id=name):
                return _not_declaring(scope.look_up(name))
            case ast.Constant():
                return Plain()
            case ast.Call():
                return self.call(node, scope)
            case ast.Attribute(value=inner, attr=attribute):
                return self.attribute(self.value(inner, scope), attribute)
            case ast.Lambda() | ast.IfExp() | ast.BoolOp() | ast.NamedExpr() | ast.Await():
                return self.inert(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self.inert(node, scope)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child, scope)
                return Plain()

    def inert(self, node: ast.expr, scope: Scope) -> Value:
        """What may run never or many times must not touch a task or a DAG."""
        for child in ast.walk(node):
            if isinstance(child, ast.Call):
                raise Unexplained
            if isinstance(child, ast.Attribute) and child.attr in _DECLARING:
                raise Unexplained
            if isinstance(child, ast.Name):
                _not_declaring(found := scope.look_up(child.id))
                if isinstance(found, TaskFunction | TaskOutput | Operator | Partial | DagName):
                    raise Unexplained
        return Plain()

    def attribute(self, of: Value, attribute: str) -> Value:
        match of:
            case Imported(path=path):
                return _not_declaring(Imported(f"{path}.{attribute}"))
            case Operator(task_id=task_id) if attribute == "output":
                return TaskOutput(task_id)
            case Plain() if attribute not in _DECLARING:
                return Plain()
            case _:
                raise Unexplained

    def call(self, node: ast.Call, scope: Scope) -> Value:
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(node.func, ast.Attribute):
            method, of = node.func.attr, self.value(node.func.value, scope)
            if not isinstance(of, Imported):
                if method == "add_result" and isinstance(of, DagName):
                    return self.add_result(node, scope)
                given = [self.value(argument, scope) for argument in arguments]
                return self.method(of, method, given, scope)
        callee = self.value(node.func, scope)
        given = [self.value(argument, scope) for argument in arguments]
        match callee:
            case TaskFunction(task_id=task_id):
                return self.create(TaskOutput(task_id), scope, callee)
            case Imported():
                return self.call_imported(callee, node, scope)
            case DagName() if not scope.in_dag:
                return DagName()
            case Opaque() if not scope.in_dag and not any(map(_is_of_a_dag, given)):
                return Plain()
            case _:
                raise Unexplained

    def method(self, of: Value, method: str, given: list[Value], scope: Scope) -> Value:
        match of:
            case TaskFunction() if method in _MAPPING:
                return self.create(TaskOutput(of.task_id), scope, of)
            case TaskFunction() if method == "partial":
                return Partial(of.task_id, of)
            case Partial(function=TaskFunction() as function) if method in _MAPPING:
                return self.create(TaskOutput(of.task_id), scope, function)
            case Partial() if method in _MAPPING:
                return self.create(Operator(of.task_id), scope)
            case TaskOutput() | Operator() if method in _WIRING:
                return of
            case DagName() if method in _ON_A_DAG and not scope.in_dag:
                return Plain()
            case Plain() if method not in _DECLARING and not any(map(_is_of_a_dag, given)):
                return Plain()
            case _:
                raise Unexplained

    def call_imported(self, callee: Imported, node: ast.Call, scope: Scope) -> Value:
        path = callee.path
        root, last = path.split(".", 1)[0], path.rsplit(".", 1)[-1]
        if root == UNKNOWN:
            raise Unexplained
        if root == "builtins" or root in _STANDARD_LIBRARY:
            return Plain()
        if not is_airflow(path):
            if scope.in_dag or any(
                _is_of_a_dag(self.value(argument, scope))
                for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
            ):
                raise Unexplained
            return Plain()
        task_id = next((k.value for k in node.keywords if k.arg == "task_id"), None)
        if task_id is None:
            return self.call_airflow(last)
        if not (isinstance(task_id, ast.Constant) and isinstance(task_id.value, str)):
            raise Unexplained
        if last == "partial":
            return Partial(task_id.value, None)
        return self.create(Operator(task_id.value), scope)

    def call_airflow(self, last: str) -> Value:
        """Airflow's own functions are known not to declare results, but for these."""
        if last in {"task", "dag", "DAG", "setup", "teardown", "result", "TaskGroup", "task_group"}:
            raise Unexplained
        return Plain()

    def add_result(self, node: ast.Call, scope: Scope) -> Value:
        if len(node.args) != 1 or node.keywords:
            raise Unexplained
        value = self.value(node.args[0], scope)
        if not isinstance(value, TaskOutput):
            raise Unexplained
        self.declared.add(value.task_id)
        self.add_results += 1
        return value

    def create(
        self, value: TaskOutput | Operator, scope: Scope, function: TaskFunction | None = None
    ) -> Value:
        if not scope.in_dag:
            raise Unexplained
        self.created.append(value.task_id)
        if function and function.is_result:
            self.declared.add(value.task_id)
        return value


_BUILTIN_VALUES = {name: Imported(f"builtins.{name}") for name in _BUILTINS}
Scope.builtins = _BUILTIN_VALUES


def _not_declaring(value: Value) -> Value:
    """Airflow's `result` may stand in a decorator, and nowhere else."""
    if isinstance(value, Imported) and is_airflow(value.path):
        last = value.path.rsplit(".", 1)[-1]
        if last in _DECLARING:
            raise Unexplained
    return value


def _is_of_a_dag(value: Value) -> bool:
    return isinstance(value, TaskFunction | TaskOutput | Operator | Partial | DagName)


def _never_at_parse_time(test: ast.expr) -> bool:
    """Whether the test is `__name__ == "__main__"` or `TYPE_CHECKING`."""
    match test:
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]
        ):
            return True
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case _:
            return False
