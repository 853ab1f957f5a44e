"""The command line: `dag-inference invoke DAG_ID --conf JSON`.

The result goes to stdout as JSON, and nothing else does. Everything about the
way there goes to stderr. The exit code says how it ended:

  0  there is a result, and it is on stdout
  1  the run gave no result: it failed, was cancelled, was skipped ...
  2  bad usage, bad request, or a conf that breaks the DAG's params
  3  the DAG cannot be called: not found, not allowed, paused, broken ...
  4  the deadline passed; the run may go on
  5  the gateway or its Airflow is unavailable or full: repeat later
  6  a fault of the gateway, or anything else
130  interrupted with Ctrl-C; the run may go on
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from uuid import uuid4

try:
    import typer
except ImportError:
    print("The command line needs an extra: pip install 'dag-inference[cli]'", file=sys.stderr)
    sys.exit(6)

from dag_inference._cli.dags import print_dag, print_dags, summary
from dag_inference._cli.exits import Exit, table
from dag_inference._cli.messages import WayBack, say
from dag_inference._cli.options import (
    LOCAL,
    AsJson,
    Comment,
    Conf,
    DagId,
    OnDeadline,
    OnDisconnect,
    Reference,
    RequestId,
    ResultTask,
    RunId,
    RunTimeout,
    Tag,
    Target,
    Timeout,
)
from dag_inference._cli.output import print_json, print_result
from dag_inference._cli.session import completed, session

_EXIT_CODES = "\n".join(("Exit codes:", *table()))

app = typer.Typer(
    help="Call an Apache Airflow DAG like any other gRPC method.",
    epilog=_EXIT_CODES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(epilog=_EXIT_CODES)
def invoke(
    dag_id: DagId,
    conf: Conf = None,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    request_id: RequestId = None,
    result_task: ResultTask = None,
    run_timeout: RunTimeout = None,
    on_deadline: OnDeadline = "keep",
    on_disconnect: OnDisconnect = "keep",
    reference: Reference = False,
) -> None:
    """Trigger a run of a DAG and print its result."""
    # Chosen here, so that it can be named when the run id never arrives.
    request_id = request_id or uuid4().hex
    with session(WayBack(dag_id, target, request_id, on_deadline, on_disconnect)) as (
        client,
        progress,
    ):
        result = client.call(
            dag_id,
            conf,
            timeout=timeout,
            on_run=progress.run_exists,
            request_id=request_id,
            result_task_ids=result_task or (),
            run_timeout=run_timeout,
            on_deadline=on_deadline,
            on_disconnect=on_disconnect,
            reference=reference,
        )
        progress.result(result)
    print_result(result)


@app.command(epilog=_EXIT_CODES)
def stream(
    dag_id: DagId,
    conf: Conf = None,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    request_id: RequestId = None,
    result_task: ResultTask = None,
    run_timeout: RunTimeout = None,
    on_deadline: OnDeadline = "keep",
    on_disconnect: OnDisconnect = "keep",
    reference: Reference = False,
) -> None:
    """Do as invoke, and show every step on the way."""
    request_id = request_id or uuid4().hex
    with session(WayBack(dag_id, target, request_id, on_deadline, on_disconnect)) as (
        client,
        progress,
    ):
        events = client.stream(
            dag_id,
            conf,
            timeout=timeout,
            request_id=request_id,
            result_task_ids=result_task or (),
            run_timeout=run_timeout,
            on_deadline=on_deadline,
            on_disconnect=on_disconnect,
            reference=reference,
        )
        with closing(events):
            result = completed(events, progress)
        progress.result(result)
    print_result(result)


@app.command(epilog=_EXIT_CODES)
def wait(
    dag_id: DagId,
    run_id: RunId,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    result_task: ResultTask = None,
    on_deadline: OnDeadline = "keep",
    on_disconnect: OnDisconnect = "keep",
    reference: Reference = False,
) -> None:
    """Wait for a run that exists and print its result."""
    with session(WayBack(dag_id, target, None, on_deadline, on_disconnect)) as (client, progress):
        progress.run_exists(run_id)
        result = client.wait(
            dag_id,
            run_id,
            timeout=timeout,
            result_task_ids=result_task or (),
            on_deadline=on_deadline,
            on_disconnect=on_disconnect,
            reference=reference,
        )
        progress.result(result)
    print_result(result)


@app.command(epilog=_EXIT_CODES)
def watch(
    dag_id: DagId,
    run_id: RunId,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    result_task: ResultTask = None,
    on_deadline: OnDeadline = "keep",
    on_disconnect: OnDisconnect = "keep",
    reference: Reference = False,
) -> None:
    """Do as wait, and show every step from there on."""
    with session(WayBack(dag_id, target, None, on_deadline, on_disconnect)) as (client, progress):
        progress.run_exists(run_id)
        events = client.watch(
            dag_id,
            run_id,
            timeout=timeout,
            result_task_ids=result_task or (),
            on_deadline=on_deadline,
            on_disconnect=on_disconnect,
            reference=reference,
        )
        with closing(events):
            result = completed(events, progress)
        progress.result(result)
    print_result(result)


@app.command(epilog=_EXIT_CODES)
def cancel(
    dag_id: DagId,
    run_id: RunId,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    comment: Comment = "",
) -> None:
    """End a run."""
    with session(WayBack(dag_id, target)) as (client, _):
        run = client.cancel(dag_id, run_id, comment=comment, timeout=timeout)
    say(f"run {run.run_id} {run.state}")


@app.command(epilog=_EXIT_CODES)
def dags(
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """List the DAGs that the gateway serves, and whether they can be called."""
    with session(WayBack("", target)) as (client, _):
        found = [*client.dags(tags=tag or (), timeout=timeout)]
    if as_json:
        print_json([summary(dag) for dag in found])
    elif found:
        print_dags(found)
    else:
        say("The gateway serves no such DAGs.")


@app.command(epilog=_EXIT_CODES)
def describe(
    dag_id: DagId,
    *,
    target: Target = LOCAL,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Say how a DAG is called: its params, its result, and whether it can run."""
    with session(WayBack(dag_id, target)) as (client, _):
        dag = client.describe(dag_id, timeout=timeout)
    if as_json:
        print_json(asdict(dag))
    else:
        print_dag(dag, target)


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="dag-inference")
    except Exception as error:
        # Python's own exit code for this is 1, which says that a run gave no result.
        say(f"A fault of this command line, or an argument it cannot send: {error!r}")
        sys.exit(Exit.BUG)


if __name__ == "__main__":
    main()
