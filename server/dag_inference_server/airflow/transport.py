"""Requests to Airflow: threads, token, retries, and what a broken answer is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeAlias, TypeVar

import urllib3
from airflow_client.client import ApiClient, Configuration
from airflow_client.client.exceptions import ApiException
from airflow_client.client.rest import RESTResponse
from pydantic import BaseModel, SecretStr, ValidationError

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow.answers import AccessToken
from dag_inference_server.airflow.clock import Clock
from dag_inference_server.airflow.retries import a_few_times

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

RETRY_AFTER = timedelta(seconds=1)
"""When a caller may try again after Airflow was away."""

Operation: TypeAlias = Callable[..., Any]
"""A `…_without_preload_content` method of `airflow_client`, bound to its arguments.

Called with `_request_timeout`, it hands over the response with its body unread.
"""


class Lane(Enum):
    """Requests that wait for each other, and for no others.

    A burst of ten thousand triggers must hold up neither the results of the calls before
    it nor the one poll that all of them wait for.
    """

    TRIGGER = "trigger"
    READ = "read"
    POLL = "poll"


_POLLS = 7
"""The polls for calls and for streams, and the rounds, are two requests each; and a login."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the gateway proves itself to Airflow. All `None`: it does not."""

    username: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Airflow's API, of any status below 500."""

    status: int
    body: bytes

    def read(self, model: type[ModelT]) -> ModelT:
        """The body as `model`.

        Raises:
            AirflowUnavailable: It is something else, such as a proxy's page.
        """
        try:
            return model.model_validate_json(self.body)
        except ValidationError as error:
            raise AirflowUnavailable(
                f"Airflow's answer is not a {model.__name__}", retry_after=RETRY_AFTER
            ) from error

    def read_json(self) -> Any:
        """The body as JSON, every number exact.

        Raises:
            AirflowUnavailable: It is no JSON.
            RecursionError: It is nested about a thousand levels deep.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise AirflowUnavailable(
                "Airflow's answer is no JSON", retry_after=RETRY_AFTER
            ) from error

    @property
    def detail(self) -> str:
        """What Airflow says of a refusal, as one text; empty if it is not Airflow that speaks."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return ""
        detail = document.get("detail", "") if isinstance(document, dict) else ""
        return detail if isinstance(detail, str) else json.dumps(detail)


class Transport:
    """Performs requests of `airflow_client` in threads."""

    def __init__(
        self, url: str, credentials: Credentials, *, timeout: float, connections: int
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: Where the API server answers, without a slash at the end.
            credentials: The account.
            timeout: Seconds that one request may take.
            connections: Requests at once, triggers and reads half each, beside seven of polls.
        """
        self.url = url
        self._credentials = credentials
        self._timeout = timeout
        # urllib3's own repeats would hide from us what happened.
        configuration = Configuration(host=url, retries=False)
        configuration.connection_pool_maxsize = connections + _POLLS
        self.client = ApiClient(configuration)
        if credentials.token:
            configuration.access_token = credentials.token.get_secret_value()
        reads = (connections + 1) // 2
        sizes = {Lane.TRIGGER: max(connections - reads, 1), Lane.READ: reads, Lane.POLL: _POLLS}
        self._threads = {
            lane: ThreadPoolExecutor(size, thread_name_prefix=f"airflow-{lane.value}")
            for lane, size in sizes.items()
        }
        self._login: asyncio.Task[None] | None = None
        self.clock = Clock()

    def close(self) -> None:
        """Let go of the threads; requests under way end by themselves."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def send(
        self, operation: Operation, read: Callable[[Answer], T], lane: Lane = Lane.READ
    ) -> T:
        """Perform a request that is safe to repeat, a few times if need be.

        Args:
            operation: The request.
            read: Reads the answer. One that cannot be read is as good as none.
            lane: Which requests it may have to wait for.

        Raises:
            AirflowUnavailable: No answer, or none of its API.
            AirflowDenied: The account is refused.
        """
        return await a_few_times(lambda: self.send_once(operation, read, lane))

    async def send_once(self, operation: Operation, read: Callable[[Answer], T], lane: Lane) -> T:
        """Perform a request as `send` does, but once, not counting a refreshed token."""
        token = await self._token()
        answer = await self._perform(operation, lane)
        if self._credentials.username and _is_stale(answer):
            await self._renew(token)
            answer = await self._perform(operation, lane)
        if answer.status in (401, 403):
            raise AirflowDenied(self._why_denied(answer))
        return read(answer)

    async def _token(self) -> str | None:
        configuration = self.client.configuration
        if configuration.access_token is None and self._credentials.username:
            await self._renew(None)
        token: str | None = configuration.access_token
        return token

    async def _renew(self, stale: str | None) -> None:
        """Fetch a token, unless that has happened already; all who want one share one request."""
        if self.client.configuration.access_token != stale:
            return
        if self._login is None or self._login.done():
            self._login = asyncio.create_task(self._log_in())
        # One caller's deadline must not end what the others wait for.
        await asyncio.shield(self._login)

    async def _log_in(self) -> None:
        answer = await self._perform(self._request_token, Lane.POLL)
        if answer.status in (400, 401, 403, 422):
            raise AirflowDenied(f"Airflow refuses the password of {self._credentials.username}")
        self.client.configuration.access_token = answer.read(AccessToken).access_token

    def _request_token(self, **_: Any) -> RESTResponse:
        password = self._credentials.password
        response: RESTResponse = self.client.rest_client.request(  # type: ignore[no-untyped-call]
            "POST",
            f"{self.url}/auth/token",
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            body={
                "username": self._credentials.username,
                "password": password.get_secret_value() if password else "",
            },
            _request_timeout=self._timeout,
        )
        return response

    def _why_denied(self, answer: Answer) -> str:
        if answer.status == 403:
            return f"Airflow forbids the gateway's account: {answer.detail or 'no reason given'}"
        if self._credentials == Credentials():
            return "Airflow wants an account, and none is set"
        return "Airflow refuses the gateway's token"

    async def _perform(self, operation: Operation, lane: Lane) -> Answer:
        status, body, date = await asyncio.get_running_loop().run_in_executor(
            self._threads[lane], self._block_on, operation
        )
        if date is not None:
            self.clock.saw(date)
        if status >= 500 or status == 429 or 300 <= status < 400:
            raise AirflowUnavailable(f"Airflow answers {status}", retry_after=RETRY_AFTER)
        return Answer(status, body)

    def _block_on(self, operation: Operation) -> tuple[int, bytes, datetime | None]:
        try:
            response = operation(_request_timeout=self._timeout)
            raw: Any = getattr(response, "response", response)
            body: bytes = raw.data
            return raw.status, body, _server_time(raw.headers.get("Date"))
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise AirflowUnavailable(
                f"Airflow does not answer: {_in_words(error)}",
                retry_after=RETRY_AFTER,
            ) from error


def _is_stale(answer: Answer) -> bool:
    """Whether the token has expired, or its signature is no longer known.

    Airflow says the latter with 403 (`airflow/api_fastapi/core_api/security.py`, 3.3).
    """
    return answer.status == 401 or (answer.status == 403 and "JWT" in answer.detail)


def _server_time(header: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(header) if header else None
    except ValueError:
        return None
    # Without a zone it is UTC, which HTTP dates always are.
    return date.replace(tzinfo=UTC) if date and date.tzinfo is None else date


def _in_words(error: Exception) -> str:
    """What went wrong, without the addresses that the error's own text may hold."""
    match error:
        case urllib3.exceptions.NewConnectionError() | urllib3.exceptions.NameResolutionError():
            return "it cannot be reached"
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            return "it takes too long"
        case _:
            return "the connection broke"
