"""Of which DAGs health asks Airflow at all."""

from __future__ import annotations

from dag_inference.errors import DagNotFound
from dag_inference_server.edge.health import _UNKNOWN, Health


class Asked:
    """What is asked, and answered as Airflow would; it has one DAG."""

    def __init__(self) -> None:
        self.dag_ids: list[str] = []

    async def __call__(self, dag_id: str) -> bool:
        self.dag_ids.append(dag_id)
        if dag_id != "dag":
            raise DagNotFound("no such DAG")
        return True


def _serving(health: Health) -> Health:
    health.serve()
    health.set_airflow(True)
    return health


async def test_airflow_is_away() -> None:
    """Of none: the breaker knows it before Airflow's own health is asked again."""
    asked, is_away = Asked(), True
    health = _serving(Health(asked, lambda: is_away))

    assert not await health.is_dag_ready("dag")
    assert not asked.dag_ids

    is_away = False
    assert await health.is_dag_ready("dag")


async def test_names_that_are_made_up() -> None:
    """Of each once; only so many are remembered."""
    asked = Asked()
    health = _serving(Health(asked))
    names = [f"dag_{number}" for number in range(_UNKNOWN + 10)]
    for name in names:
        assert not await health.is_dag_ready(name)

    assert not await health.is_dag_ready(names[-1])

    assert asked.dag_ids == names
    assert len(health._unknown_until) == _UNKNOWN
