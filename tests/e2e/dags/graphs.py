"""Small random task graphs, the same in every process that draws them.

A graph is data: `random_graphs.py` makes a DAG of each, and the tests read it to know what
should happen to it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

SEED = 2026
COUNT = 48
"""Every trigger rule is drawn for three results, those that a failure breaks for six."""

PREFIX = "random_graph_"
"""How the ids of the DAGs begin."""

POOL = "held_back"
"""The pool of the tasks that wait until somebody opens it."""

OPEN_END = "open_end"
"""A task of each graph that has nothing to do with the others, and is held: the run goes on."""

BREAKING = frozenset({"all_success", "none_failed", "none_failed_min_one_success"})
"""The trigger rules that one failed upstream breaks."""

TEARDOWN_RULE = "all_done_setup_success"
RULES = (
    *("all_success", "all_failed", "all_done", "all_done_min_one_success", TEARDOWN_RULE),
    *("one_success", "one_failed", "one_done", "none_failed", "none_skipped", "always"),
    *("none_failed_min_one_success", "all_skipped"),
)
"""All of Airflow's."""

GROUP, MAPPED_GROUP = "group", "mapped_group"
MAP_LENGTH = 2


class Outcome(StrEnum):
    """What a task does once it runs."""

    SUCCESS = "success"
    FAIL = "fail"
    SKIP = "skip"


_SUCCESS = (Outcome.SUCCESS,)


@dataclass(frozen=True, slots=True)
class Node:
    """A task."""

    name: str
    rule: str
    upstream: frozenset[str] = frozenset()
    """The names of the tasks that it depends on."""
    outcomes: tuple[Outcome, ...] = _SUCCESS
    """By map index; one for a task that has none."""
    is_held: bool = False
    is_source: bool = False
    """Whether it returns a list that something is mapped over."""
    is_mapped: bool = False
    """Whether it is mapped by itself, not by its group."""
    mapped_over: str | None = None
    """The source that it is mapped over; `None` for a list in the file."""
    group: str | None = None
    is_setup: bool = False
    tears_down: str | None = None
    """The setup that it belongs to, if it is a teardown."""

    @property
    def task_id(self) -> str:
        """What Airflow calls it."""
        return f"{self.group}.{self.name}" if self.group else self.name

    @property
    def has_indexes(self) -> bool:
        """Whether it has an instance for each map index."""
        return self.is_mapped or self.group == MAPPED_GROUP


@dataclass(frozen=True, slots=True)
class Graph:
    """The tasks of a DAG, each after those that it depends on."""

    number: int
    nodes: Mapping[str, Node]
    result: Node
    group_mapped_over: str | None
    """The source that the mapped group is mapped over; `None` for a list in the file."""

    @property
    def dag_id(self) -> str:
        """What Airflow calls it."""
        return f"{PREFIX}{self.number:02}"

    def before_result(self) -> set[str]:
        """The names of all tasks that the result depends on."""
        found: set[str] = set()
        ahead = [*self.result.upstream]
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += self.nodes[name].upstream
        return found

    def __str__(self) -> str:
        """One line for each task."""
        return "\n".join([self.dag_id, *(_line(self, node) for node in self.nodes.values())])


def graphs() -> Iterator[Graph]:
    """All of them."""
    return (draw(number) for number in range(COUNT))


def draw(number: int) -> Graph:
    """One of them."""
    chance = random.Random(f"{SEED} {number}")
    nodes = _wired(chance, chance.randint(3, 8))
    chance.choice([_unchanged, _unchanged, _grouped, _set_up, _set_up])(chance, nodes)
    over = _group_mapped(chance, nodes) if chance.random() < 0.3 else None
    _mapped(chance, nodes)
    rules = [*RULES, *sorted(BREAKING)]
    result = _choose_result(chance, nodes, rules[number % len(rules)])
    for node in nodes.values():
        nodes[node.name] = _fated(chance, node, is_result=node.name == result)
    return Graph(number, nodes, nodes[result], over)


Nodes = dict[str, Node]


def _wired(chance: random.Random, size: int) -> Nodes:
    names = [f"t{index}" for index in range(size)]
    nodes = {}
    for index, name in enumerate(names):
        near = names[max(0, index - 4) : index]
        is_root = index == 0 or (index < size - 1 and chance.random() < 0.25)
        number = 0 if is_root else chance.choice([1, 1, 2, 2, 3])
        upstream = chance.sample(near, min(number, len(near)))
        breaking = chance.random() < 0.6
        rule = chance.choice(sorted(BREAKING) if breaking else RULES)
        nodes[name] = Node(name, rule, frozenset(upstream))
    return nodes


def _unchanged(_: random.Random, nodes: Nodes) -> None:
    """Neither groups nor setups."""


def _grouped(chance: random.Random, nodes: Nodes) -> None:
    """Some tasks are in a task group."""
    for node in [*nodes.values()]:
        if chance.random() < 0.5:
            nodes[node.name] = replace(node, group=GROUP)


def _set_up(chance: random.Random, nodes: Nodes) -> None:
    """One task is a setup, and one after it its teardown."""
    names = [*nodes]
    first, last = sorted(chance.sample(range(len(names)), 2))
    setup, teardown = nodes[names[first]], nodes[names[last]]
    nodes[setup.name] = replace(setup, is_setup=True)
    for node in [*nodes.values()]:
        if setup.name in node.upstream:
            # Airflow accepts no other rule there.
            nodes[node.name] = replace(node, rule="all_success")
    nodes[teardown.name] = replace(
        teardown,
        rule=TEARDOWN_RULE,
        tears_down=setup.name,
        upstream=teardown.upstream | {setup.name},
    )


def _group_mapped(chance: random.Random, nodes: Nodes) -> str | None:
    """Two tasks are in a mapped task group; over whose output, if over any."""
    names = [*nodes]
    start = chance.randrange(1, len(names) - 1)
    inside = names[start : start + 2]
    if any(nodes[name].is_setup or nodes[name].tears_down for name in inside):
        return None
    source = _take_source(chance, nodes, names[:start])
    for name in inside:
        node = nodes[name]
        over = {source} if source else set()
        nodes[name] = replace(
            node, group=MAPPED_GROUP, rule=_with_indexes(node.rule), upstream=node.upstream | over
        )
    return source


def _mapped(chance: random.Random, nodes: Nodes) -> None:
    """Some tasks are mapped by themselves."""
    names = [*nodes]
    for index, name in enumerate(names):
        node = nodes[name]
        is_taken = node.has_indexes or node.is_source or node.is_setup or node.tears_down
        if is_taken or chance.random() > 0.15:
            continue
        source = _take_source(chance, nodes, names[:index])
        nodes[name] = replace(
            node,
            is_mapped=True,
            mapped_over=source,
            rule=_with_indexes(node.rule),
            upstream=node.upstream | ({source} if source else set()),
        )


def _with_indexes(rule: str) -> str:
    """The rule of a task that is expanded: Airflow accepts all but `always`."""
    return "one_done" if rule == "always" else rule


def _take_source(chance: random.Random, nodes: Nodes, before: Sequence[str]) -> str | None:
    """A task whose output something is mapped over, or none."""
    able = [name for name in before if not nodes[name].has_indexes and not nodes[name].is_setup]
    if not able or chance.random() < 0.5:
        return None
    source = chance.choice(able)
    nodes[source] = replace(nodes[source], is_source=True)
    return source


def _choose_result(chance: random.Random, nodes: Nodes, rule: str) -> str:
    """A task that depends on others, and gets the rule if it can have it."""
    setups = {node.name for node in nodes.values() if node.is_setup}
    able = [
        node.name
        for node in nodes.values()
        if node.upstream and not node.is_setup and not node.tears_down and not node.is_source
    ]
    free = [
        name
        for name in able
        if not nodes[name].upstream & setups and not (rule == "always" and nodes[name].has_indexes)
    ]
    if free:
        name = chance.choice(free)
        nodes[name] = replace(nodes[name], rule=rule)
        return name
    dependent = [node.name for node in nodes.values() if node.upstream]
    return chance.choice(able or dependent)


def _fated(chance: random.Random, node: Node, *, is_result: bool) -> Node:
    """What the task will do, and whether it is held before."""
    success = 0.75 if is_result or node.is_source else 0.55
    weights = [success, (1 - success) * 0.55, (1 - success) * 0.45]
    outcomes = chance.choices([*Outcome], weights, k=MAP_LENGTH if node.has_indexes else 1)
    return replace(node, outcomes=tuple(outcomes), is_held=chance.random() < 0.2)


def _line(graph: Graph, node: Node) -> str:
    marks = [
        node.rule,
        "/".join(node.outcomes),
        "held" if node.is_held else "",
        "RESULT" if node.name == graph.result.name else "",
        f"mapped over {node.mapped_over or 'a list'}" if node.is_mapped else "",
        "setup" if node.is_setup else "",
        f"teardown of {node.tears_down}" if node.tears_down else "",
    ]
    after = ", ".join(sorted(node.upstream)) or "nothing"
    return f"  {node.task_id} after {after}: {', '.join(filter(None, marks))}"
