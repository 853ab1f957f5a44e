"""The token that proves the account: which one is good, and when another may be had."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from dag_inference.errors import AirflowDenied
from dag_inference_server.airflow.credentials import Credentials

_SHORTEST, _LONGEST = 1.0, 30.0
"""Seconds until a secret that led to nothing is tried again; each time twice as long. Accounts
are locked after some wrong passwords, and calls that fail come back in crowds."""

NOT_TAKEN = "Airflow refuses the gateway's token"

_IN_HEADER = re.compile(r"[!-~]+")


class Tokens:
    """Has a token, as long as Airflow takes it.

    A secret that was refused, or whose token was refused before Airflow took it once, is not
    tried again for a while, and who needs it is told so at once. Another secret in its place
    is tried immediately.
    """

    def __init__(
        self, credentials: Credentials, log_in: Callable[[str, str], Awaitable[str]]
    ) -> None:
        """Have none yet.

        Args:
            credentials: The account.
            log_in: Gives a token for name and password. Raises `AirflowDenied` if they are
                refused, and `AirflowUnavailable` if there is no answer.
        """
        self._credentials = credentials
        self._log_in = log_in
        self.value: str | None = None
        """What to send; `None` for nothing."""
        self.is_refused = False
        """Whether Airflow takes no token of the account, or there is none to be had."""
        self._renewal: asyncio.Task[None] | None = None
        self._secret: str | None = None
        """The one that was tried last."""
        self._in_vain = 0
        """How often, so far."""
        self._why = ""
        self._not_before = 0.0

    async def have(self) -> None:
        """Fetch a token if there is none; all who want one share one request.

        Raises:
            AirflowDenied: The account is refused, now or a moment ago.
            AirflowUnavailable: There is no answer.
        """
        if self.value is not None or self._credentials == Credentials():
            return
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._try())
        # One caller's deadline must not end what the others wait for.
        await asyncio.shield(self._renewal)

    async def another(self, refused: str | None) -> bool:
        """Have another token than the one that Airflow has refused.

        Returns:
            Whether there is one; `False` without an account. Raises as `have` does.
        """
        if refused is not None and refused == self.value:
            self.value = None
            if self._credentials.token is not None:
                self._wait(NOT_TAKEN)
        await self.have()
        self.is_refused = self.value is None
        return self.value is not None

    def taken(self, token: str | None) -> None:
        """Take in that Airflow takes a token, or needs none."""
        if token == self.value:
            self._in_vain, self._not_before, self.is_refused = 0, 0.0, False

    async def _try(self) -> None:
        try:
            await self._renew()
        except AirflowDenied:
            self.is_refused = True
            raise

    async def _renew(self) -> None:
        ready, password = self._credentials.token, self._credentials.password
        secret = (ready or password or str)()
        if secret != self._secret:
            self._secret, self._in_vain, self._not_before = secret, 0, 0.0
        if time.monotonic() < self._not_before:
            raise AirflowDenied(self._why)
        if ready is None:
            token = await self._fetch(secret)
        elif _IN_HEADER.fullmatch(secret):
            token = secret
        else:
            raise AirflowDenied("the gateway's token holds what no HTTP header can")
        self.value = token

    async def _fetch(self, password: str) -> str:
        try:
            token = await self._log_in(self._credentials.username or "", password)
        except AirflowDenied as error:
            self._wait(error.message)
            raise
        # In vain until Airflow takes it.
        self._wait(NOT_TAKEN)
        return token

    def _wait(self, why: str) -> None:
        pause = min(_SHORTEST * 2 ** min(self._in_vain, 9), _LONGEST)
        self._in_vain += 1
        self._why = why
        self._not_before = time.monotonic() + pause
