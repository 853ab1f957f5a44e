"""Who may ask: tokens, as Airflow's simple auth manager hands them out.

Taken from `airflow/api_fastapi/auth/managers/simple` and `core_api/security.py`.
"""

from __future__ import annotations

import json

from fakes.airflow.routes import Refusal, json_reply
from fakes.airflow.wire import Reply, Request


class Accounts:
    """One account, and its tokens."""

    def __init__(self, username: str, password: str) -> None:
        """Know the account."""
        self.username = username
        self.password = password
        self._issued: list[str] = []
        self._live: set[str] = set()

    def issue(self) -> str:
        """A token that holds until `expire`."""
        token = f"token-{len(self._issued)}"
        self._issued.append(token)
        self._live.add(token)
        return token

    def expire(self) -> None:
        """End all tokens issued so far."""
        self._live.clear()

    def token(self, request: Request) -> Reply:
        """`POST /auth/token`."""
        body = json.loads(request.body)
        if not {"username", "password"} <= body.keys():
            raise Refusal(422, "Field required")
        if not body.get("username") or not body.get("password"):
            raise Refusal(400, "Username and password must be provided")
        if (body["username"], body["password"]) != (self.username, self.password):
            raise Refusal(401, "Invalid credentials")
        return json_reply({"access_token": self.issue()}, 201)

    def check(self, request: Request) -> None:
        """Refuse a request without a good token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Refusal(401, "Not authenticated")
        if token not in self._issued:
            raise Refusal(403, "Invalid JWT token")
        if token not in self._live:
            raise Refusal(401, "Token Expired")
