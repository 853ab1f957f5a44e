"""What Airflow's API answers a request with, before anybody knows what it means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dag_inference.errors import AirflowUnavailable

ModelT = TypeVar("ModelT", bound=BaseModel)

RETRY_AFTER = timedelta(seconds=1)
"""When a caller may try again after Airflow was away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Airflow's API, of any status below 500."""

    status: int
    body: bytes

    def read(self, model: type[ModelT], **of: object) -> ModelT:
        """The body as `model`, of which each row, or all, has these fields: what was asked for.

        Raises:
            AirflowUnavailable: It is something else, such as a proxy's page, or what a cache has
                of another request.
        """
        try:
            found = model.model_validate_json(self.body)
        except ValidationError as error:
            raise AirflowUnavailable(
                f"Airflow's answer is not a {model.__name__}", retry_after=RETRY_AFTER
            ) from error
        for row in getattr(found, "rows", (found,)):
            for name, value in of.items():
                if getattr(row, name) != value:
                    raise AirflowUnavailable(
                        f"Airflow's answer is of another {name}", retry_after=RETRY_AFTER
                    )
        return found

    @property
    def detail(self) -> str:
        """What Airflow says of a refusal, as one text; empty if it is not Airflow that speaks."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return ""
        detail = document.get("detail", "") if isinstance(document, dict) else ""
        return detail if isinstance(detail, str) else json.dumps(detail)
