"""Which tasks a DAG's file declares as its result: a closed reading of its source.

Airflow stores the declaration (`@result`, `dag.add_result(x)`, the value that a `@dag`
function returns; `airflow/sdk/definitions/dag.py` and `decorators/__init__.py` of
Airflow 3.3) only as a flag on the values of a run. Before a run has ended, the
file is the only place that tells.

The reading is closed: the file is taken as a syntax tree and never run, and all that
would run while Airflow parses it has to be understood here: every DAG, and also
decorators, default arguments, annotations and class bodies. Straight-line code that
calls task functions and operators is; loops, branches, factories, task groups,
`.override`, calls of the file's own functions and code that is not in the file are
not. Then nothing is known, which is always a safe answer.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterable

from dag_inference_server.catalog.bindings import (
    DagFunction,
    DagName,
    Imported,
    Opaque,
    Operator,
    Partial,
    Plain,
    Scope,
    Tangled,
    TaskFunction,
    TaskOutput,
    Unexplained,
    Value,
)
from dag_inference_server.catalog.decorators import (
    dag_id_of,
    dag_of_with,
    is_airflow,
    path_of,
    task_function,
)
from dag_inference_server.catalog.vocabulary import (
    DECORATORS,
    DOCUMENTATION,
    MAPPING,
    MARKING,
    NOT_FOR_CALLING,
    ON_A_DAG,
    PLACING,
    WIRING,
    are_harmless,
    explained,
    holding,
    is_quiet_base,
    is_standard,
    is_unsafe,
)

_MAX_LENGTH = 100_000
"""Characters. A longer file was generated, and reading it would hold up every other call."""


def declared_results(source: str, dag_id: str, task_ids: Iterable[str]) -> frozenset[str] | None:
    """Read which tasks of a DAG are declared as its result.

    Args:
        source: The text of the DAG's file.
        dag_id: The DAG; the file may hold others.
        task_ids: All of the DAG's tasks, as Airflow knows them.

    Returns:
        The declared tasks, empty if certainly none; `None` if it cannot be told.
    """
    if len(source) > _MAX_LENGTH:
        return None
    try:
        with warnings.catch_warnings():
            # Of escapes in the file's strings, for instance: they are its author's.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        reading = _Reading()
        reading.module(tree)
        reading.nothing_left_out(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, Unexplained):
        return None
    created = Counter(task_id for of_dag, task_id in reading.created if of_dag == dag_id)
    if dag_id not in reading.dag_ids or created != Counter(set(task_ids)):
        return None
    return frozenset(task_id for of_dag, task_id in reading.declared if of_dag == dag_id)


class _Reading:
    """One pass over a file, top to bottom, as Python would execute it."""

    def __init__(self) -> None:
        self.dag_ids: set[str] = set()
        self.created: list[tuple[str, str]] = []
        self.declared: set[tuple[str, str]] = set()
        """Both by DAG and task."""
        self.add_results = 0
        self.globals = Scope()
        self.annotations_run = True

    def module(self, tree: ast.Module) -> None:
        for statement in tree.body:
            self.statement(statement, self.globals)

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
            case ast.ImportFrom(module="__future__"):
                self.annotations_run &= all(alias.name != "annotations" for alias in node.names)
            case ast.Import() | ast.ImportFrom():
                scope.bind_import(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function(node, scope)
            case ast.ClassDef() if not scope.is_class:
                self.class_(node, scope)
            case ast.With() if scope is self.globals:
                self.with_dag(node, scope)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                scope.bind(name, self.value(value, scope))
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=attribute)], value=value):
                if attribute not in DOCUMENTATION:
                    raise Unexplained
                self.value(value, scope)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                if value is not None:
                    scope.bind(name, self.value(value, scope))
                self.annotation(annotation, scope)
            case ast.Expr(value=value):
                self.value(value, scope)
            case ast.If(test=test, orelse=[]) if _never_at_parse_time(test, scope):
                pass
            case ast.Pass():
                pass
            case _:
                raise Unexplained

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.value(default, scope)
        for annotation in (*(argument.annotation for argument in _arguments(node)), node.returns):
            self.annotation(annotation, scope)
        made: Value | None = task_function(node, scope)
        if isinstance(node, ast.FunctionDef) and (dag_id := dag_id_of(node, scope)) is not None:
            made = DagFunction(dag_id, node)
        self.decorators(node, scope, of_a_dag=made is not None)
        scope.bind(node.name, made or Opaque())

    def annotation(self, node: ast.expr | None, scope: Scope) -> None:
        if node is not None and self.annotations_run:
            self.inert(node, scope)

    def class_(self, node: ast.ClassDef, scope: Scope) -> None:
        """Read its body, which runs; a base may call what it defines, or be the file's own."""
        self.decorators(node, scope, of_a_dag=False)
        has_functions = any(isinstance(inner, _FUNCTIONS) for inner in node.body)
        for base in (*node.bases, *(keyword.value for keyword in node.keywords)):
            match self.value(base, scope):
                case Imported(path=path) if not has_functions or is_quiet_base(path):
                    pass
                case _:
                    raise Unexplained
        body = Scope(scope, dag_id=scope.dag_id, is_class=True)
        for statement in node.body:
            self.statement(statement, body)
        scope.bind(node.name, Opaque())

    def decorators(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
        scope: Scope,
        *,
        of_a_dag: bool,
    ) -> None:
        """Read what is left of those that are understood: their arguments."""
        for decorator in node.decorator_list:
            if not of_a_dag:
                self.value(decorator, scope)
                if path_of(decorator, scope) not in DECORATORS:
                    raise Unexplained
            elif isinstance(decorator, ast.Call):
                self.arguments(decorator, scope)
                if any(keyword.arg in PLACING for keyword in decorator.keywords):
                    raise Unexplained

    def with_dag(self, node: ast.With, scope: Scope) -> None:
        dag_id, call = dag_of_with(node, scope)
        self.arguments(call, scope)
        self.enter(dag_id)
        match node.items[0].optional_vars:
            case ast.Name(id=name):
                scope.bind(name, DagName(dag_id))
            case None:
                pass
            case _:
                raise Unexplained
        # The body of a `with` has no names of its own.
        scope.dag_id = dag_id
        for statement in node.body:
            if isinstance(statement, ast.With):
                raise Unexplained
            self.statement(statement, scope)
        scope.dag_id = None

    def call_dag_function(self, function: DagFunction) -> Value:
        """Read its body now, with what the names of the file stand for by now."""
        self.enter(function.dag_id)
        scope = Scope(self.globals, dag_id=function.dag_id)
        for argument in _arguments(function.node):
            scope.bind(argument.arg, Plain())
        for statement in function.node.body:
            if isinstance(statement, ast.Return):
                self.returned(statement.value, scope)
                break
            self.statement(statement, scope)
        return DagName(function.dag_id)

    def enter(self, dag_id: str) -> None:
        if dag_id in self.dag_ids:
            raise Unexplained
        self.dag_ids.add(dag_id)

    def returned(self, node: ast.expr | None, scope: Scope) -> None:
        """A `@dag` function's value is its result if it is a task's plain return value."""
        value = self.value(node, scope) if node else Plain()
        if isinstance(value, TaskOutput):
            self.declared.add((value.dag_id, value.task_id))
        elif not (node is None or (isinstance(node, ast.Constant) and node.value is None)):
            raise Unexplained

    # Expressions

    def value(self, node: ast.expr, scope: Scope) -> Value:
        match node:
            case ast.Name(id=name):
                return explained(scope.look_up(name))
            case ast.Constant():
                return Plain()
            case ast.Call():
                return self.call(node, scope)
            case ast.Attribute(value=inner, attr=attribute):
                return self.attribute(self.value(inner, scope), attribute)
            case ast.Lambda() | ast.IfExp() | ast.BoolOp() | ast.Compare(ops=[_, _, *_]):
                return self.inert(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self.inert(node, scope)
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.Starred():
                return holding(self.parts(node, scope))
            case ast.JoinedStr() | ast.FormattedValue() | ast.Subscript() | ast.Slice():
                return self.operation(node, scope)
            case ast.BinOp() | ast.UnaryOp() | ast.Compare():
                return self.operation(node, scope)
            case _:
                raise Unexplained

    def parts(self, node: ast.expr, scope: Scope) -> list[Value]:
        children = ast.iter_child_nodes(node)
        return [self.value(child, scope) for child in children if isinstance(child, ast.expr)]

    def operation(self, node: ast.expr, scope: Scope) -> Value:
        """What an operator makes. With a class of the file's own it could do anything."""
        parts = self.parts(node, scope)
        if any(isinstance(part, Opaque) for part in parts):
            raise Unexplained
        return holding(parts)

    def inert(self, node: ast.expr, scope: Scope) -> Value:
        """What may run never or many times must not touch a task or a DAG."""
        nodes = list(ast.walk(node))
        own = {child.arg for child in nodes if isinstance(child, ast.arg)}
        for child in nodes:
            match child:
                case ast.Name(id=name, ctx=ast.Store()):
                    own.add(name)
                case ast.Call() | ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
                    raise Unexplained
                case ast.Attribute(attr=attribute) if is_unsafe(attribute):
                    raise Unexplained
                case _:
                    pass
        names = {child.id for child in nodes if isinstance(child, ast.Name)} - own
        made = holding([explained(scope.look_up(name)) for name in names])
        if isinstance(made, Tangled):
            raise Unexplained
        return made

    def attribute(self, of: Value, attribute: str) -> Value:
        match of:
            case Imported(path=path):
                return explained(Imported(f"{path}.{attribute}"))
            case Operator() if attribute == "output":
                return TaskOutput(of.dag_id, of.task_id)
            case Plain() if not is_unsafe(attribute):
                return Plain()
            case _:
                raise Unexplained

    # Calls

    def arguments(self, node: ast.Call, scope: Scope) -> list[Value]:
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        return [self.value(argument, scope) for argument in given]

    def call(self, node: ast.Call, scope: Scope) -> Value:
        match node.func:
            case ast.Attribute(value=inner, attr=method):
                of = self.value(inner, scope)
                if not isinstance(of, Imported):
                    return self.method(of, method, node, scope)
                callee = self.attribute(of, method)
            case function:
                callee = self.value(function, scope)
        given = self.arguments(node, scope)
        match callee:
            case TaskFunction(task_id=task_id):
                return self.create_output(task_id, scope, callee)
            case DagFunction() if scope.dag_id is None:
                return self.call_dag_function(callee)
            case Imported():
                return self.call_imported(callee, node, given, scope)
            case _:
                raise Unexplained

    def method(self, of: Value, method: str, node: ast.Call, scope: Scope) -> Value:
        given = self.arguments(node, scope)
        match of:
            case DagName() if method == "add_result":
                return self.add_result(node, given)
            case TaskFunction() if method in MAPPING:
                return self.create_output(of.task_id, scope, of)
            case TaskFunction() if method == "partial":
                return Partial(of.task_id, of)
            case Partial(function=TaskFunction() as function) if method in MAPPING:
                return self.create_output(of.task_id, scope, function)
            case Partial() if method in MAPPING:
                return self.create_operator(of.task_id, scope)
            case TaskOutput() | Operator() if method in MARKING:
                return of
            case TaskOutput() | Operator() if method in WIRING:
                return Plain()
            case DagName() if method in ON_A_DAG and scope.dag_id is None:
                return Plain()
            case Plain() if not is_unsafe(method) and are_harmless(given):
                return Plain()
            case _:
                raise Unexplained

    def call_imported(
        self, callee: Imported, node: ast.Call, given: list[Value], scope: Scope
    ) -> Value:
        path = callee.path
        if is_airflow(path):
            return self.call_airflow(path.rsplit(".", 1)[-1], node, given, scope)
        if not are_harmless(given):
            raise Unexplained
        if is_standard(path):
            return Plain()
        if scope.dag_id is not None:
            raise Unexplained
        return Imported(f"{path}()")

    def call_airflow(self, last: str, node: ast.Call, given: list[Value], scope: Scope) -> Value:
        """With a `task_id` it is an operator; other functions are known not to declare results."""
        if last in NOT_FOR_CALLING:
            raise Unexplained
        arguments = {keyword.arg: keyword.value for keyword in node.keywords}
        match arguments.get("task_id"):
            case None if any(isinstance(value, Opaque) for value in given):
                raise Unexplained
            case None:
                return Plain()
            case ast.Constant(value=str() as task_id):
                pass
            case _:
                raise Unexplained
        for placing in PLACING & arguments.keys():
            if self.value(arguments[placing], scope) != DagName(scope.dag_id or ""):
                raise Unexplained
        return Partial(task_id, None) if last == "partial" else self.create_operator(task_id, scope)

    def add_result(self, node: ast.Call, given: list[Value]) -> Value:
        match given:
            case [TaskOutput() as output] if node.args:
                self.declared.add((output.dag_id, output.task_id))
                self.add_results += 1
                return output
            case _:
                raise Unexplained

    def create(self, task_id: str, scope: Scope) -> str:
        """Make a task; the DAG that it is in."""
        if scope.dag_id is None:
            raise Unexplained
        self.created.append((scope.dag_id, task_id))
        return scope.dag_id

    def create_output(self, task_id: str, scope: Scope, function: TaskFunction) -> Value:
        output = TaskOutput(self.create(task_id, scope), task_id)
        if function.is_result:
            self.declared.add((output.dag_id, task_id))
        return output

    def create_operator(self, task_id: str, scope: Scope) -> Value:
        return Operator(self.create(task_id, scope), task_id)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [argument for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]


def _never_at_parse_time(test: ast.expr, scope: Scope) -> bool:
    """Whether the test is `__name__ == "__main__"` or `TYPE_CHECKING`."""
    match test:
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]
        ):
            return scope.look_up("__name__") is Scope.builtins["__name__"]
        case ast.Name() | ast.Attribute():
            return path_of(test, scope) == "typing.TYPE_CHECKING"
        case _:
            return False
