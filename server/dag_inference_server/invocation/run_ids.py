"""The ids of the gateway's runs: chosen before the trigger, so that it can be repeated."""

from __future__ import annotations

import hashlib
import re
import uuid


class RunIds:
    """Makes and knows the run ids of gateways with one prefix."""

    def __init__(self, prefix: str) -> None:
        """Use `prefix`, which ends with a letter or digit."""
        self._prefix = f"{prefix}-"
        # All of it: the prefix of another gateway may begin with this one.
        self._ours = re.compile(rf"{re.escape(prefix)}-[0-9a-f]{{32}}")

    @property
    def form(self) -> str:
        """How the ids look, for people."""
        return f"{self._prefix} and 32 hex digits"

    def make(self, dag_id: str, request_id: str | None) -> str:
        """The id for a call's run: random, or the same for the same request id."""
        if request_id is None:
            return f"{self._prefix}{uuid.uuid4().hex}"
        # A name for the caller will stand first, once there is one. Lengths keep
        # ("a", "bc") and ("ab", "c") apart.
        parts = ("", dag_id, request_id)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return f"{self._prefix}{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def is_ours(self, run_id: str) -> bool:
        """Whether a gateway with this prefix made the run."""
        return self._ours.fullmatch(run_id) is not None
