"""Requests to Airflow: lanes, repeats, and what a broken answer is."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from io import BytesIO
from typing import TypeVar

import aiohttp
from airflow_client.client import Configuration
from yarl import URL

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow.answer import RETRY_AFTER, Answer
from dag_inference_server.airflow.answers import AccessToken
from dag_inference_server.airflow.bodies import Body, whole
from dag_inference_server.airflow.breaker import Breaker
from dag_inference_server.airflow.clock import Clock
from dag_inference_server.airflow.credentials import Credentials
from dag_inference_server.airflow.observer import LOGIN, RequestObserver
from dag_inference_server.airflow.requests import Operation, Request, Writer
from dag_inference_server.airflow.retries import a_few_times
from dag_inference_server.airflow.tokens import NOT_TAKEN, Tokens

T = TypeVar("T")


class Lane(Enum):
    """Requests that wait for each other, and for no others.

    A burst of ten thousand triggers must hold up neither the results of the calls before
    it nor the one poll that all of them wait for, and slow logs of failures nothing at all.
    Whether Airflow hangs is asked beside all that hang, and tried beside that.
    """

    TRIGGER = "trigger"
    READ = "read"
    POLL = "poll"
    HEALTH = "health"
    TRIAL = "trial"
    LOG = "log"


_POLLS = 4
"""The polls for calls and for streams, the rounds and the look for unfinished runs, a request
each at a time. A login takes the place of one."""

_LOGS = 2
"""A log may be slow to read, and an error goes out without it."""

_MORE_TOKENS = 2
"""That a request is sent with: the one that it got instead of its first can be refused, too,
while it waits for its turn."""

TRIALS = 5
"""Of whether Airflow answers, at once: where one hangs, the next may be answered."""

_ONE_PIECE = 1024 * 1024
"""Bytes that are sent in one piece. Of more, aiohttp warns."""

_KEPT_ALIVE = 4.0
"""Seconds that an idle connection is kept: a little less than Airflow's server (uvicorn) does."""


class Transport:
    """Sends what `airflow_client` writes."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        timeout: float,
        connections: int,
        breaker: Breaker | None = None,
        observer: RequestObserver | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Prepare, inside the event loop; nothing is sent yet.

        Args:
            url: Where the API server answers, without a slash at the end.
            credentials: The account.
            timeout: Seconds that one request may take.
            connections: Requests at once, triggers and reads half each, beside eight of polls,
                logs and health.
            breaker: Is told what becomes of each.
            observer: Is told of each.
            headers: What each request says beside what it asks for, by the context that it is
                made in.
        """
        self.url = url
        self._breaker = breaker or Breaker()
        self._observer = observer
        self._headers = headers
        self.client = Writer(Configuration(host=url))
        self.clock = Clock()
        self._has_account = credentials != Credentials()
        self._tokens = Tokens(credentials, self._log_in)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        reads = (connections + 1) // 2
        sizes = {
            Lane.TRIGGER: max(connections - reads, 1),
            Lane.READ: reads,
            Lane.POLL: _POLLS,
            Lane.HEALTH: 1,
            Lane.TRIAL: TRIALS,
            Lane.LOG: _LOGS,
        }
        self._lanes = {lane: asyncio.Semaphore(size) for lane, size in sizes.items()}
        self._session = aiohttp.ClientSession(
            # The lanes are the limit.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Between neighbours, packing costs more than it saves.
            headers={"Accept-Encoding": "identity"},
        )
        self._date = ""

    @property
    def account_is_refused(self) -> bool:
        """Whether Airflow takes nothing of what the account has to show."""
        return self._tokens.is_refused

    async def close(self) -> None:
        """End the requests under way, and let go of the connections."""
        await self._session.close()

    async def send(
        self,
        operation: Operation,
        read: Callable[[Answer], T],
        lane: Lane = Lane.READ,
        *,
        body: Body = whole,
        is_public: bool = False,
    ) -> T:
        """Send a request that is safe to repeat, a few times if need be.

        Args:
            operation: The request.
            read: Reads the answer. One that cannot be read is as good as none.
            lane: Which requests it may have to wait for.
            body: How much of the answer is read.
            is_public: Whether Airflow tells it anybody. Then it is sent with the token that
                there is, if any, and one is fetched only if something on the way wants it.

        Raises:
            AirflowUnavailable: No answer, or none of its API.
            AirflowDenied: The account is refused.
        """
        return await a_few_times(
            lambda: self.send_once(operation, read, lane, body=body, is_public=is_public)
        )

    async def send_once(
        self,
        operation: Operation,
        read: Callable[[Answer], T],
        lane: Lane,
        *,
        body: Body = whole,
        within: float | None = None,
        is_public: bool = False,
    ) -> T:
        """Send a request as `send` does, but once, not counting a refreshed token.

        `within` bounds it more narrowly than the rest, in seconds from when its turn has come.
        """
        # What is told anybody proves nothing: not the account, and not a database, either. Health
        # is told with a 200 when there is none.
        proves = not is_public
        with self._breaker.asking(proves=proves) as asked:
            if proves:
                await self._tokens.have()
            answer, token = await self._send(operation, lane, body, within)
            for _ in range(_MORE_TOKENS):
                if not _wants_another(answer, token) or not await self._tokens.another(token):
                    break
                answer, token = await self._send(operation, lane, body, within)
            asked.is_answered = True
            if proves and not _is_stale(answer):
                self._tokens.taken(token)
            if answer.status in (401, 403):
                raise AirflowDenied(self._why_denied(answer))
            return read(answer)

    async def _log_in(self, username: str, password: str) -> str:
        account = {"username": username, "password": password}
        # Not part of the API that `airflow_client` knows.
        request = Request(
            LOGIN,
            f"{self.url}/auth/token",
            {"Content-Type": "application/json", "Accept": "application/json"},
            json.dumps(account).encode(),
        )
        answer, _ = await self._send(lambda: request, Lane.POLL, anonymous=True)
        if answer.status in (400, 401, 403, 422):
            raise AirflowDenied(f"Airflow refuses the password of {username}")
        return answer.read(AccessToken).access_token

    def _why_denied(self, answer: Answer) -> str:
        if answer.status == 403:
            return f"Airflow forbids the gateway's account: {answer.detail or 'no reason given'}"
        return NOT_TAKEN if self._has_account else "Airflow wants an account, and none is set"

    async def _send(
        self,
        operation: Operation,
        lane: Lane,
        body: Body = whole,
        within: float | None = None,
        *,
        anonymous: bool = False,
    ) -> tuple[Answer, str | None]:
        """Send a request when its turn has come; gives the token that it was sent with, too."""
        async with self._lanes[lane]:
            if lane is Lane.TRIAL:
                # Only now: how long a login takes is no matter here.
                self._breaker.tried()
            # The token of now: it may have been renewed while this waited for its turn.
            token = None if anonymous else self._tokens.value
            answer = await self._exchange(operation(), body, token, within)
        status = answer.status
        if status >= 500 or status == 429 or 300 <= status < 400:
            raise AirflowUnavailable(f"Airflow answers {status}", retry_after=RETRY_AFTER)
        return answer, token

    async def _exchange(
        self,
        request: Request,
        body: Body,
        token: str | None,
        within: float | None,
    ) -> Answer:
        start = time.monotonic()
        try:
            answer = await self._request(request, body, token, within)
        except asyncio.CancelledError:
            if self._breaker.stopped_waiting(start):
                self._tell(request, None, start)
            raise
        except (aiohttp.ClientError, OSError) as error:
            self._tell(request, None, start)
            raise AirflowUnavailable(
                f"Airflow does not answer: {_in_words(error)}", retry_after=RETRY_AFTER
            ) from error
        self._tell(request, answer.status, start)
        return answer

    async def _request(
        self, request: Request, body: Body, token: str | None, within: float | None
    ) -> Answer:
        proof = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers={**self._headers(), **request.headers, **proof},
            data=_payload(request.body),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=within) if within else self._timeout,
        ) as response:
            self._read_clock(response.headers.get("Date", ""))
            return Answer(response.status, await body(response))

    def _tell(self, request: Request, status: int | None, start: float) -> None:
        if self._observer is not None:
            self._observer.requested(request.operation, status, time.monotonic() - start)

    def _read_clock(self, date: str) -> None:
        # The first answer of a second tells most.
        if date != self._date and (moment := _server_time(date)) is not None:
            self.clock.saw(moment)
        self._date = date


def was_sent(error: AirflowUnavailable) -> bool:
    """Whether a request that got no answer may have reached Airflow: there was a connection."""
    return not isinstance(error.__cause__, aiohttp.ClientConnectorError)


def _payload(body: bytes | None) -> bytes | BytesIO | None:
    """The body as aiohttp wants it: one that is large, in pieces."""
    return BytesIO(body) if body is not None and len(body) > _ONE_PIECE else body


def _is_stale(answer: Answer) -> bool:
    """Whether the token has expired, or its signature is no longer known.

    Airflow says the latter with 403 (`airflow/api_fastapi/core_api/security.py`, 3.3).
    """
    return answer.status == 401 or (answer.status == 403 and "JWT" in answer.detail)


def _wants_another(answer: Answer, token: str | None) -> bool:
    """Whether another token, or the first one, may be granted what this one was not."""
    return _is_stale(answer) or (answer.status == 403 and token is None)


def _server_time(header: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(header) if header else None
    except (ValueError, OverflowError):
        return None
    # Without a zone it is UTC, which HTTP dates always are.
    return date.replace(tzinfo=UTC) if date and date.tzinfo is None else date


def _in_words(error: Exception) -> str:
    """What went wrong, without the addresses that the error's own text may hold."""
    match error:
        # In this order: a connection that takes too long to be made is both.
        case TimeoutError():
            return "it takes too long"
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError(verify_message=why)
        ):
            # Of a name that does not match, both stand behind a comma.
            return f"its certificate is not trusted ({why.partition(',')[0]})"
        case aiohttp.ClientConnectorSSLError(os_error=ssl.SSLError(reason=why)):
            return f"TLS with it fails ({why or 'no reason given'})"
        case aiohttp.ClientConnectorError(errno=int(number)):
            return f"it cannot be reached ({os.strerror(number)})"
        case aiohttp.ClientConnectorError():
            return "it cannot be reached"
        case _:
            return "the connection broke"
