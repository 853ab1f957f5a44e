"""The closed reading of a DAG's file: what it knows is what Airflow says, or it knows nothing.

`sources/known.txt` holds files that have to be understood, `sources/hard.txt` files that try to
get something wrong out of it. Airflow itself loads every one of them, and says what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_inference_server.catalog.source import declared_results

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE.parents[2] / "examples" / "dags").glob("*.py"))

IMPORTS = """
from airflow.sdk import DAG, Param, chain, dag, result, setup, task, teardown
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
"""
"""What each of the sources begins with, except those that begin with another import."""

Truth = Mapping[str, Mapping[str, bool]]


def sources_of(file: str) -> dict[str, str]:
    """The sources of a file, by the line that heads each."""
    parts = (HERE / "sources" / file).read_text().split("=== ")[1:]
    named = (part.partition("\n") for part in parts)
    return {
        name: source if source.startswith("from __future__") else IMPORTS + source
        for name, _, source in named
    }


KNOWN = sources_of("known.txt")
HARD = sources_of("hard.txt")
OUR_EXAMPLES = {file.stem: file.read_text() for file in EXAMPLES}


@pytest.fixture(scope="session")
def truth(
    load_with_airflow: Callable[[Mapping[str, str]], dict[str, Truth]],
) -> dict[str, Truth]:
    """What Airflow says of every source."""
    assert not KNOWN.keys() & HARD.keys()
    return load_with_airflow(KNOWN | HARD | OUR_EXAMPLES)


def read(source: str, of_file: Truth) -> dict[str, frozenset[str] | None]:
    """What the reading says of every DAG of a file."""
    return {dag_id: declared_results(source, dag_id, tasks) for dag_id, tasks in of_file.items()}


def said(of_file: Truth) -> dict[str, frozenset[str]]:
    """What Airflow says of every DAG of a file."""
    return {
        dag_id: frozenset(task_id for task_id, is_result in tasks.items() if is_result)
        for dag_id, tasks in of_file.items()
    }


@pytest.mark.parametrize("name", KNOWN | OUR_EXAMPLES)
def test_what_is_understood_is_what_airflow_says(name: str, truth: dict[str, Truth]) -> None:
    """Straight-line files are understood, and so is each of our examples."""
    assert said(truth[name])
    assert read((KNOWN | OUR_EXAMPLES)[name], truth[name]) == said(truth[name])


@pytest.mark.parametrize("name", HARD)
def test_what_is_not_understood_is_never_guessed(name: str, truth: dict[str, Truth]) -> None:
    """A file that does more than straight-line wiring may get no answer, but never a wrong one."""
    assert said(truth[name])
    for dag_id, declared in read(HARD[name], truth[name]).items():
        assert declared in (None, said(truth[name])[dag_id])


def test_the_examples_declare_what_they_say(truth: dict[str, Truth]) -> None:
    """Each of the examples marks its result task in the file."""
    assert {name: said(truth[name])[name] for name in OUR_EXAMPLES} == {
        "answer_question": {"answer"},
        "classify_iris": {"predict"},
        "count_primes": {"total"},
        "price_order": {"price"},
    }


ONE_RESULT = IMPORTS + "@result\n@task\ndef one(): ...\nwith DAG('a'):\n    one()\n"


@pytest.mark.parametrize("tasks", [[], ["two"], ["one", "two"], ["one__1"], ["group.one"]])
def test_every_task_has_to_be_accounted_for(tasks: list[str]) -> None:
    """If Airflow's tasks are not the file's, one to one, nothing is known."""
    assert declared_results(ONE_RESULT, "a", ["one"]) == frozenset({"one"})
    assert declared_results(ONE_RESULT, "a", tasks) is None


def test_a_dag_that_the_file_does_not_hold_is_unknown() -> None:
    """Nothing is known of a DAG that is not made where Airflow says it is."""
    assert declared_results(ONE_RESULT, "b", ["one"]) is None
    assert declared_results(ONE_RESULT, "b", []) is None


@pytest.mark.parametrize(
    "ending",
    [
        "dag.add_result(x)",
        "with DAG('a'): ...",
        "x.returns_dag_result",
        "x = 'returns_dag_result'",
        "x = ['add_result']",
        "def f(d, x): d.add_result(x)",
        "for x in (): ...",
        "nonsense",
        "x = lambda: nonsense",
        "assert True",
        "x, y = 1, 2",
        "x += 1",
        "async def f(): await g(1)\nf()",
        "x = (yield)",
        "from . import *",
    ],
)
def test_one_statement_more_that_is_not_understood_spoils_it(ending: str) -> None:
    """What is not understood makes a file unknown wherever it stands."""
    assert declared_results(f"{ONE_RESULT}\n{ending}\n", "a", ["one"]) is None


@pytest.mark.parametrize(
    "source",
    [
        "",
        "REDACTED: you may not read it",
        "def",
        "\0",
        f"{ONE_RESULT}\0",
        "\ud800",
        f"\ufeff{ONE_RESULT}",
        "(" * 10_000 + ")" * 10_000,
        "-" * 90_000 + "1",
        "x" + ".x" * 40_000,
        "x = " + " + ".join(["1"] * 20_000),
        "import lib\nlib" + ".x()" * 200 + ".result()",
        ONE_RESULT + "#" * 1_000_000,
    ],
    ids=lambda source: repr(source[:12]),
)
def test_what_is_no_readable_file_is_unknown(source: str) -> None:
    """No text, however broken, deep or long, is an error: it is unknown."""
    assert declared_results(source, "a", ["one"]) is None


@given(st.text() | st.binary().map(lambda data: data.decode(errors="surrogateescape")))
def test_no_text_raises(source: str) -> None:
    """Any text at all is read without an error."""
    assert declared_results(source, "a", ["one"]) is None


STATEMENTS = [line for source in (KNOWN | HARD).values() for line in source.splitlines()]


@given(st.lists(st.sampled_from(STATEMENTS), max_size=20), st.booleans())
def test_no_shuffled_file_raises(lines: list[str], flat: bool) -> None:
    """Lines of DAG files in any order are read without an error."""
    text = "\n".join(line.strip() if flat else line for line in lines)
    found = declared_results(text, "a", ["one"])
    assert found is None or found <= {"one"}
