"""Airflow's other callers: a cheap request some times a second, and how long its answer takes.

A worker. Requests are due at fixed times, and count from when they were due: an API server
that keeps one caller waiting keeps the next one waiting, too.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from benchmarks import worker

PATH = "/api/v2/dags?limit=1"

_PER_SECOND = 10
_AT_ONCE = 32
_TIMEOUT = 60


class Prober:
    """Asks, each thread on a connection of its own."""

    def __init__(self, url: str, token: str) -> None:
        """Ask the Airflow at `url`."""
        self._address = urlsplit(url).netloc
        self._headers = {"authorization": f"Bearer {token}"}
        self._own = threading.local()

    def ask(self, due: float) -> tuple[float, bool]:
        """Seconds from when a request was due until it was over, and whether it was answered."""
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPConnection(self._address, timeout=_TIMEOUT)
        connection: HTTPConnection = self._own.connection
        try:
            connection.request("GET", PATH, headers=self._headers)
            response = connection.getresponse()
            response.read()
            answered = response.status == 200
        except (OSError, HTTPException):
            # The next request opens it anew.
            connection.close()
            answered = False
        return time.monotonic() - due, answered


def main() -> None:
    """Ask until told."""
    prober = Prober(**worker.arguments())
    told = threading.Event()
    samples: list[Future[tuple[float, bool]]] = []

    def listen() -> None:
        worker.until_told()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        worker.say_ready()
        due = time.monotonic()
        while not told.wait(max(due - time.monotonic(), 0)):
            samples.append(threads.submit(prober.ask, due))
            due += 1 / _PER_SECOND
    worker.answer([sample.result() for sample in samples])


if __name__ == "__main__":
    main()
