"""Answer a question: plan, choose one tool, answer with what it found.

The shape of an agent, without a language model: `plan` reads the question, `choose` branches to
one of the tools `calculate`, `look_up` and `give_up`, and `answer` gathers what came of it. The
tools that were not chosen are skipped.

**conf** (optional)

- `question`: a sum ("What is 12 times (3 + 4)?") or a question about Airflow, gRPC or protobuf.
  Default: "What is a protobuf Struct?"

**result**, for `{"question": "What is 12 times (3 + 4)?"}`

    {
      "question": "What is 12 times (3 + 4)?",
      "tool": "calculate",
      "answer": "84",
      "confidence": 1.0,
      "steps": ["plan: it asks for the sum 12 * (3 + 4)", "calculate: 12 * (3 + 4) = 84"]
    }

`answer` is always a string, `confidence` is between 0 and 1. A sum that has no answer, such as
"1 / 0", fails the run.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from airflow.sdk import Param, dag, get_current_context, result, task

FACTS = (
    "An Airflow DAG is a set of tasks and the order in which they run.",
    "An Airflow XCom is a small value that one task leaves for the others to read.",
    "An Airflow trigger rule says which states of its upstream tasks let a task run.",
    "An Airflow branch task chooses which of the tasks after it run; the others are skipped.",
    "An Airflow teardown task runs at the end, and does not decide whether the run succeeded.",
    "The Airflow scheduler decides when a task runs, and hands it to an executor.",
    "gRPC is a framework for calling methods of a remote server over HTTP/2.",
    "A gRPC deadline says how long the client is willing to wait for the answer.",
    "A gRPC status code says how a call ended, such as OK, NOT_FOUND or DEADLINE_EXCEEDED.",
    "gRPC reflection lets a client ask a server which services and methods it has.",
    "Protobuf is a compact binary format for messages whose fields are declared in a schema.",
    "A protobuf Struct is a message that holds any JSON object, its numbers as doubles.",
    "A protobuf field number identifies a field in the binary format and must never change.",
)
TOPIC = re.compile(
    r"\b(airflow|branch|dag|executor|scheduler|task|teardown|xcom"
    r"|deadline|grpc|reflection|status|field|message|protobuf|struct)\b"
)

SPELLED_OUT = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "divided by": "/",
    "to the power of": "**",
    "^": "**",
}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def find_sum(question: str) -> str | None:
    """Find the arithmetic expression in a question, if there is one."""
    text = question.lower()
    for words, symbol in SPELLED_OUT.items():
        text = text.replace(words, symbol)
    for found in re.findall(r"[-+(\s]*\d[\d\s.+*/%()-]*", text):
        expression = " ".join(found.rstrip(". ").split())
        try:
            tree = ast.parse(expression, mode="eval")
        except SyntaxError:
            continue
        if any(isinstance(node, ast.BinOp) for node in ast.walk(tree)):
            return expression
    return None


def evaluate(node: ast.AST) -> int | float:
    """Compute an arithmetic expression from its syntax tree, within bounds."""
    match node:
        case ast.Constant(value=int() | float() as value):
            pass
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            value = OPERATORS[type(op)](evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            a, b = evaluate(left), evaluate(right)
            if isinstance(op, ast.Pow) and (abs(a) > 1000 or abs(b) > 100):
                raise ValueError(f"{a} ** {b} is too large a power")
            try:
                value = OPERATORS[type(op)](a, b)
            except ArithmeticError as error:
                raise ValueError(f"{ast.unparse(node)} has no answer: {error}") from None
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")
    if isinstance(value, complex):
        raise ValueError(f"{ast.unparse(node)} is not a real number")
    if abs(value) > 1e300:
        raise ValueError(f"{ast.unparse(node)} is too large")
    return value


# multiple_outputs=False: one XCom holds the whole dict, rather than one more XCom for each key.
@task(multiple_outputs=False)
def plan() -> dict[str, str]:
    """Read the question and decide which tool to use on what."""
    question: str = get_current_context()["params"]["question"]
    if expression := find_sum(question):
        tool, subject, step = "calculate", expression, f"it asks for the sum {expression}"
    elif topics := sorted(set(TOPIC.findall(question.lower()))):
        tool, subject, step = "look_up", question, f"it asks about {', '.join(topics)}"
    else:
        tool, subject, step = "give_up", question, "it asks about no known topic"
    return {"question": question, "tool": tool, "subject": subject, "step": f"plan: {step}"}


@task.branch
def choose(planned: dict[str, str]) -> str:
    """Name the task to run next: each tool is a task of that name."""
    return planned["tool"]


@task(multiple_outputs=False)
def calculate(planned: dict[str, str]) -> dict[str, Any]:
    """Work out the sum."""
    expression = planned["subject"]
    value = evaluate(ast.parse(expression, mode="eval").body)
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return {"answer": text, "confidence": 1.0, "step": f"calculate: {expression} = {text}"}


@task(multiple_outputs=False)
def look_up(planned: dict[str, str]) -> dict[str, Any]:
    """Find the fact that is most like the question, by TF-IDF and cosine similarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english")
    facts = vectorizer.fit_transform(FACTS)
    scores = (facts @ vectorizer.transform([planned["subject"]]).T).toarray().ravel().tolist()
    best = max(range(len(FACTS)), key=scores.__getitem__)
    return {
        "answer": FACTS[best],
        "confidence": round(scores[best], 6),
        "step": f"look_up: fact {best + 1} of {len(FACTS)} is the closest",
    }


@task(multiple_outputs=False)
def give_up(planned: dict[str, str]) -> dict[str, Any]:
    """Say that there is no answer."""
    return {
        "answer": "I do not know.",
        "confidence": 0.0,
        "step": f"give_up: no tool for {planned['subject']!r}",
    }


@result
@task(multiple_outputs=False, trigger_rule="none_failed_min_one_success")
def answer(
    planned: dict[str, str],
    calculated: dict[str, Any] | None,
    looked_up: dict[str, Any] | None,
    gave_up: dict[str, Any] | None,
) -> dict[str, Any]:
    """Gather what the chosen tool found. What comes from a skipped tool is None."""
    (found,) = (tool for tool in (calculated, looked_up, gave_up) if tool is not None)
    return {
        "question": planned["question"],
        "tool": planned["tool"],
        "answer": found["answer"],
        "confidence": found["confidence"],
        "steps": [planned["step"], found["step"]],
    }


@dag(
    dag_id="answer_question",
    description="Answer a question with one of three tools, chosen by a branch.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=16,
    # The tag result:<task id> names the result task outright. @result alone would do, but the
    # tag is certain, and fast: the gateway need not read this file to find the task.
    tags=["example", "result:answer"],
    params={
        "question": Param(
            "What is a protobuf Struct?",
            description="A sum, or a question about Airflow, gRPC or protobuf",
            type="string",
            minLength=1,
            maxLength=300,
        ),
    },
)
def answer_question() -> None:
    """Wire the tasks: plan, choose, the three tools, answer."""
    planned = plan()
    chosen = choose(planned)
    calculated = calculate(planned)
    looked_up = look_up(planned)
    gave_up = give_up(planned)
    chosen >> [calculated, looked_up, gave_up]
    answer(planned, calculated, looked_up, gave_up)


answer_question()
