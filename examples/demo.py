"""The demo: boot a local Airflow, call two DAGs, show what comes back.

Run by `make demo`. With `--once` it ends by itself afterwards, with 0 if all went
well; without, it goes on serving until Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

_BESIDE = Path(sys.executable).parent
_STATE = Path(__file__).resolve().parents[1] / ".standalone"

_CALLS = (
    (
        "One call, one answer, as soon as `predict` is done. The audit after it takes 20 s.",
        ["invoke", "classify_iris", "--conf", '{"instances": [[6.1, 2.8, 4.7, 1.2]]}'],
    ),
    (
        "The same as a stream: every step on the way, then the result.",
        ["stream", "count_primes", "--conf", '{"limit": 100000}'],
    ),
)


def main() -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the calls")
    parser.add_argument("--state", type=Path, default=_STATE, help="where Airflow is kept")
    parser.add_argument("--listen", default="127.0.0.1:50051", help="where to serve gRPC")
    options = parser.parse_args()
    command = ["standalone", "--state", str(options.state), "--listen", options.listen]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    server = subprocess.Popen(
        [_BESIDE / "dag-inference-server", *command],
        stdout=subprocess.PIPE,
        text=True,
        env={"DAG_INFERENCE_LOG_LEVEL": "warning", **os.environ},
    )
    try:
        target = _wait_until_it_serves(server)
        if target is None:
            return server.wait()
        failed = [call for what, call in _CALLS if not _show(what, call, target)]
        if options.once:
            return 1 if failed else 0
        print("\nIt goes on serving. Ctrl-C ends it.", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        # It ends in order, whether or not the terminal has told it already. Who hurries it tells
        # all of the group.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        server.terminate()
        server.wait()


def _wait_until_it_serves(server: subprocess.Popen[str]) -> str | None:
    """Pass on what the server prints, up to the end of its welcome; the address it names."""
    assert server.stdout is not None
    target = None
    for line in server.stdout:
        print(line, end="", flush=True)
        if found := re.search(r"gRPC\s+(\S+:\d+)", line):
            target = found[1]
        if "Ctrl-C" in line:
            break
    return target


def _show(what: str, call: list[str], target: str) -> bool:
    """Make a call through the command line, as a person would; whether it went well."""
    command = ["dag-inference", *call, "--target", target]
    print(f"\n{what}\n\n$ {shlex.join(command)}", flush=True)
    return subprocess.run([_BESIDE / command[0], *command[1:]], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
