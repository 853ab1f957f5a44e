"""The command line: JSON on stdout, the rest on stderr, and exit codes."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from dag_inference import cli
from dag_inference._cli.exits import table
from dag_inference.errors import BY_REASON, DOMAIN
from dag_inference.v1 import dag_inference_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

Serve = Callable[..., str]

RUN = pb.Run(dag_id="iris", run_id="grpc__1", state=pb.RUN_STATE_RUNNING, url="http://airflow/1")


def run(*arguments: str, **options: Any) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.app, list(arguments), **options)


def echo(request: pb.InvokeRequest, context: grpc.ServicerContext) -> pb.InvokeResponse:
    """Answer with the conf that came."""
    context.send_initial_metadata((("dag-run-id", "grpc__1"),))
    response = pb.InvokeResponse(run=RUN, result_json=request.conf_json)
    response.timing.trigger.FromMilliseconds(20)
    response.timing.running.FromMilliseconds(1180)
    response.timing.total.FromMilliseconds(1200)
    return response


def speak(request: object, context: grpc.ServicerContext) -> Iterator[pb.InvokeStreamResponse]:
    """Tell a little of everything, then the result."""
    yield pb.InvokeStreamResponse(accepted=pb.Accepted(run=RUN))
    yield pb.InvokeStreamResponse(
        task_instance=pb.TaskInstance(
            task_id="predict", map_index=3, try_number=2, state=pb.TASK_INSTANCE_STATE_SUCCESS
        )
    )
    response = pb.InvokeResponse(run=RUN, result_json='{"species":"setosa"}')
    yield pb.InvokeStreamResponse(result=response)


def abort(
    reason: str,
    code: grpc.StatusCode,
    *details: Any,
    message: str = "It went wrong.",
    **subject: str,
) -> Callable[..., Any]:
    """A method that ends with a reason of the contract."""
    status = Status(code=code.value[0], message=message)
    known = {"dag_id": "iris", "run_id": "grpc__1", "task_id": "predict", "try_number": "2"}
    subject = known | subject
    for detail in (ErrorInfo(reason=reason, domain=DOMAIN, metadata=subject), *details):
        status.details.add().Pack(detail)

    def method(request: object, context: grpc.ServicerContext) -> None:
        context.abort_with_status(rpc_status.to_status(status))

    return method


@pytest.mark.parametrize("command", [["invoke", "iris"], ["wait", "iris", "grpc__1"]])
def test_the_result_is_one_line_of_json_on_stdout(serve: Serve, command: list[str]) -> None:
    """And stdout holds nothing else; run id, link and timing are on stderr."""
    target = serve(Invoke=echo, Wait=lambda request, context: echo(pb.InvokeRequest(), context))

    ended = run(*command, "-t", target)

    assert ended.exit_code == 0
    assert ended.stdout == "{}\n"
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} run grpc__1$", ended.stderr, re.MULTILINE)
    assert "http://airflow/1" in ended.stderr
    assert "1.2 s: trigger 20 ms, running 1.18 s" in ended.stderr


@pytest.mark.parametrize("command", [["stream", "iris"], ["watch", "iris", "grpc__1"]])
def test_a_stream_tells_each_step_on_stderr(serve: Serve, command: list[str]) -> None:
    """One line per change, with its time, and the result on stdout."""
    ended = run(*command, "-t", serve(InvokeStream=speak, Watch=speak))

    assert ended.exit_code == 0
    assert ended.stdout == '{"species": "setosa"}\n'
    assert re.search(r"^\S+ run grpc__1 running$", ended.stderr, re.MULTILINE)
    assert re.search(r"^\S+ task predict\[3\] \(try 2\) success$", ended.stderr, re.MULTILINE)


def test_cancel_says_what_became_of_the_run(serve: Serve) -> None:
    """There is no result to print."""
    ended = run(
        "cancel",
        "iris",
        "grpc__1",
        "-t",
        serve(Cancel=lambda request, context: pb.CancelResponse(run=RUN)),
    )

    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr == "run grpc__1 running\n"


def test_the_target_may_come_from_the_environment(serve: Serve) -> None:
    """`DAG_INFERENCE_TARGET` stands for `--target`."""
    ended = run("invoke", "iris", env={"DAG_INFERENCE_TARGET": serve(Invoke=echo)})

    assert ended.exit_code == 0


def test_the_conf_may_be_text_a_file_or_stdin(serve: Serve, tmp_path: Path) -> None:
    """`--conf JSON`, `--conf @file` and `--conf -` are the same."""
    target = serve(Invoke=echo)
    file = tmp_path / "conf.json"
    file.write_text('{"é": 1}', encoding="utf-8")

    for source in ('{"é": 1}', f"@{file}", "-"):
        ended = run("invoke", "iris", "-t", target, "-c", source, input='{"é": 1}')
        assert (ended.exit_code, ended.stdout) == (0, '{"é": 1}\n')


def test_a_url_is_no_target() -> None:
    """It is bad usage, and no gateway that cannot be reached."""
    ended = run("invoke", "iris", "-t", "http://127.0.0.1:50051")

    assert ended.exit_code == 2
    assert "without http://" in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    "conf",
    [
        "{",
        "[1]",
        '"x"',
        "null",
        '{"n": 1, "n": 2}',
        '{"n": NaN}',
        '{"n": 1e999}',
        "@/no/such/file",
        "[" * 99_999,
    ],
)
def test_a_bad_conf_is_bad_usage(conf: str) -> None:
    """Nothing is sent; the exit code is 2, and the message says what is wrong."""
    ended = run("invoke", "iris", "-c", conf, "-t", "127.0.0.1:1")

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert "Invalid value for '--conf'" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke"],
        ["fly"],
        ["invoke", "iris", "--timeout", "soon"],
        ["invoke", "iris", "--timeout", "nan"],
        ["invoke", "iris", "--run-timeout", "-1"],
    ],
)
def test_bad_usage(arguments: list[str]) -> None:
    """The exit code is 2."""
    assert run(*arguments).exit_code == 2


EXIT_CODES = {
    "REQUEST_INVALID": 2,
    "OPTION_NOT_ALLOWED": 2,
    "CONF_INVALID": 2,
    "REQUEST_ID_REUSED": 2,
    "RESULT_TASK_UNKNOWN": 2,
    "DAG_NOT_FOUND": 3,
    "DAG_NOT_ALLOWED": 3,
    "DAG_PAUSED": 3,
    "DAG_BROKEN": 3,
    "DAG_NOT_TRIGGERABLE": 3,
    "RUN_NOT_FOUND": 1,
    "RUN_NOT_OURS": 1,
    "TASK_FAILED": 1,
    "RUN_CANCELLED": 1,
    "RUN_DELETED": 1,
    "RUN_TIMED_OUT": 1,
    "RESULT_SKIPPED": 1,
    "RESULT_TOO_LARGE": 1,
    "RESULT_TOO_DEEP": 1,
    "RESULT_TOO_MANY_MAP_INDEXES": 1,
    "DEADLINE_EXCEEDED": 4,
    "AIRFLOW_DENIED": 3,
    "AIRFLOW_UNAVAILABLE": 5,
    "OVERLOADED": 5,
    "SHUTTING_DOWN": 5,
    "GATEWAY_BUG": 6,
}


@pytest.mark.parametrize("reason", BY_REASON)
def test_every_reason_has_its_exit_code(serve: Serve, reason: str) -> None:
    """Scripts can rely on the table; stdout stays empty."""
    ended = run("invoke", "iris", "-t", serve(Invoke=abort(reason, BY_REASON[reason].code)))

    assert ended.exit_code == EXIT_CODES[reason]
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"{reason}: It went wrong.\n")


def test_a_gateway_that_stops(serve: Serve) -> None:
    """What gRPC itself says of calls then means "repeat later", and the way back is told."""

    def stop(request: object, context: grpc.ServicerContext) -> Any:
        context.send_initial_metadata((("dag-run-id", "grpc__1"),))
        context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")

    ended = run("invoke", "iris", "-t", serve(Invoke=stop, Wait=stop))

    assert ended.exit_code == EXIT_CODES["SHUTTING_DOWN"]
    assert "come back with: dag-inference wait" in ended.stderr


def test_a_failure_says_what_it_is_about(serve: Serve) -> None:
    """Reason and message, then DAG, run and task: plain lines."""
    method = abort("TASK_FAILED", grpc.StatusCode.ABORTED)

    ended = run("stream", "iris", "-t", serve(InvokeStream=method))

    assert ended.stderr.splitlines() == [
        "TASK_FAILED: It went wrong.",
        "  DAG iris",
        "  run grpc__1",
        "  task predict, try 2",
    ]


def test_what_a_task_raised_is_said(serve: Serve) -> None:
    """With its text first; the code that an operator chose for it is no exit code of its own."""
    method = abort(
        "TASK_FAILED",
        grpc.StatusCode.INVALID_ARGUMENT,
        message="task predict [3] failed on try 2: ValueError: bad input",
        map_index="3",
        exception_type="ValueError",
    )

    ended = run("invoke", "iris", "-t", serve(Invoke=method))

    assert ended.exit_code == 1
    assert ended.stderr.splitlines() == [
        "TASK_FAILED: task predict [3] failed on try 2: ValueError: bad input",
        "  DAG iris",
        "  run grpc__1",
        "  task predict[3], try 2, ValueError",
    ]


def test_each_field_that_is_wrong_has_its_line(serve: Serve) -> None:
    """Violations are listed, with nothing around them."""
    bad = BadRequest()
    bad.field_violations.add(field="conf.n", description="must be a number")
    bad.field_violations.add(field="conf.m", description="is missing")
    method = abort("CONF_INVALID", grpc.StatusCode.INVALID_ARGUMENT, bad)

    lines = run("invoke", "iris", "-t", serve(Invoke=method)).stderr.splitlines()

    assert "  conf.n: must be a number" in lines
    assert "  conf.m: is missing" in lines


def test_after_a_deadline_the_way_back_is_shown(serve: Serve) -> None:
    """With the run id: the command to wait for it, ready to be copied."""
    target = serve(Invoke=abort("DEADLINE_EXCEEDED", grpc.StatusCode.DEADLINE_EXCEEDED))

    ended = run("invoke", "iris", "-t", target)

    hint = f"come back with: dag-inference wait --target {target} iris grpc__1"
    assert hint in ended.stderr


def test_after_a_deadline_that_ends_the_run_there_is_no_way_back(serve: Serve) -> None:
    """Whoever asked for the run to be ended is not told to wait for it."""
    target = serve(Invoke=abort("DEADLINE_EXCEEDED", grpc.StatusCode.DEADLINE_EXCEEDED))

    shown = run("invoke", "iris", "--on-deadline", "cancel", "-t", target).stderr

    assert "run grpc__1" in shown
    assert "come back" not in shown


def test_without_a_run_id_the_request_id_is_the_way_back(nobody: str) -> None:
    """Repeating with it cannot make a second run."""
    ended = run("invoke", "iris", "-t", nobody, "--request-id", "r1")

    assert ended.exit_code == 5
    assert f"UNAVAILABLE: the gateway at {nobody} cannot be reached" in ended.stderr
    assert "--request-id r1" in ended.stderr


def test_when_to_repeat_is_shown(serve: Serve) -> None:
    """RetryInfo is for people too."""
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    method = abort("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry)

    assert "repeat after 1.5 s" in run("invoke", "iris", "-t", serve(Invoke=method)).stderr


def test_a_method_that_is_not_served_yet_is_a_sentence(serve: Serve) -> None:
    """A bare UNIMPLEMENTED is no traceback."""
    target = serve()

    ended = run("cancel", "iris", "grpc__1", "-t", target)

    assert ended.exit_code == 6
    assert f"UNIMPLEMENTED: the gateway at {target} does not serve this method" in ended.stderr


def test_a_stream_without_a_result_is_a_fault(serve: Serve) -> None:
    """Exit code 0 always means that there is a result."""
    target = serve(InvokeStream=lambda request, context: iter(()))

    assert run("stream", "iris", "-t", target).exit_code == 6


def test_what_a_task_says_cannot_steer_the_terminal(serve: Serve) -> None:
    """Control characters in messages are shown as such."""

    def method(request: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.ABORTED, "two\nlines \x1b[31mred")

    lines = run("invoke", "iris", "-t", serve(Invoke=method)).stderr.splitlines()

    assert lines[:2] == ["ABORTED: two", "  lines \N{REPLACEMENT CHARACTER}[31mred"]


@pytest.mark.parametrize(
    "script",
    [
        # An argument that is not UTF-8, which no message can hold.
        "from dag_inference import cli; sys.argv[1:] = ['invoke', '\\udcff']; cli.main()",
        # Without the extra.
        "sys.modules['typer'] = None; import dag_inference.cli",
    ],
)
def test_nothing_else_looks_like_a_run_without_a_result(script: str) -> None:
    """What goes wrong here is exit code 6 and a line, not Python's 1 and a traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; {script}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 6
    assert len(ended.stderr.splitlines()) == 1


def test_help_and_docstring_show_the_exit_codes() -> None:
    """One table, told in both places."""
    shown = " ".join(run("--help", env={"COLUMNS": "200"}).stdout.split())

    for line in table():
        assert " ".join(line.split()) in shown
        assert line in (cli.__doc__ or "").splitlines()


@pytest.mark.parametrize("ends", [False, True], ids=["kept", "cancelled"])
@pytest.mark.parametrize("command", ["invoke", "stream"])
def test_ctrl_c_cancels_the_call_and_names_the_run(serve: Serve, command: str, ends: bool) -> None:
    """The exit code is 130; the gateway learns it, and the user what becomes of the run.

    It goes on and there is a way back to it, unless the user wanted it to end.
    """
    gone = Event()

    def hang(request: object, context: grpc.ServicerContext) -> pb.InvokeResponse:
        context.add_callback(gone.set)
        context.send_initial_metadata((("dag-run-id", "grpc__1"),))
        gone.wait(20)
        return pb.InvokeResponse()

    def hang_stream(
        request: object, context: grpc.ServicerContext
    ) -> Iterator[pb.InvokeStreamResponse]:
        context.add_callback(gone.set)
        yield pb.InvokeStreamResponse(accepted=pb.Accepted(run=RUN))
        gone.wait(20)

    target = serve(Invoke=hang, InvokeStream=hang_stream)
    # A shell starts what it runs in the background with the signal ignored.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{listen}; from dag_inference.cli import main; main()"
    with subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-c", script, command, "iris", "-t", target),
            *(["--on-disconnect", "cancel"] if ends else []),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        assert process.stderr
        assert "run grpc__1" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)

    assert (process.returncode, output) == (130, "")
    becomes = "is cancelled, unless others wait for it" if ends else "goes on"
    assert f"Interrupted. The run grpc__1 {becomes}." in errors
    assert (f"dag-inference wait --target {target} iris grpc__1" in errors) is not ends
    assert "Traceback" not in errors
    assert gone.wait(5)


def test_a_terminal_gets_a_picture(serve: Serve) -> None:
    """Run, task instances and stages on stderr; indented JSON on stdout."""
    shown = _in_a_terminal("stream", "iris", "-t", serve(InvokeStream=speak))

    assert "run grpc__1" in shown
    assert "predict[3] (try 2)" in shown
    assert shown.rstrip().endswith('{\r\n  "species": "setosa"\r\n}')


def test_a_terminal_shows_where_the_time_went(serve: Serve) -> None:
    """As a bar, in which each stage is as long as its share, and as numbers below it."""
    shown = _in_a_terminal("invoke", "iris", "-t", serve(Invoke=echo))

    # Blue is the trigger, with 20 of 1200 ms, and green the running.
    bars = re.findall(r"\x1b\[44m( *)\x1b\[0m\x1b\[42m( *)\x1b\[0m 1\.2 s", shown)
    assert {tuple(map(len, bar)) for bar in bars} == {(1, 39)}
    plain = re.sub(r"\x1b\[[\d;?]*\w", "", shown)
    assert re.search(r" trigger 20 ms +running 1\.18 s", plain)
    assert "queued" not in plain


def _in_a_terminal(*arguments: str) -> str:
    """What a terminal shows of the command line; it must end well."""
    script = "from dag_inference.cli import main; main()"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(theirs)
    shown = b"".join(_until_closed(ours)).decode()
    assert process.wait(20) == 0
    return shown


def _until_closed(terminal: int) -> Iterator[bytes]:
    with open(terminal, "rb", buffering=0) as reader:
        try:
            while data := reader.read(4096):
                yield data
        except OSError:
            return  # Linux says EIO when the other side has closed.
