"""What the gateway leaves in Airflow's database: the runs that callers asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2

from dag_inference import DagInferenceClient, TaskFailed
from e2e.harness import Standalone


@contextmanager
def audit_rows(standalone: Standalone) -> Iterator[Counter[str]]:
    """Counts, at the end of the block, what was written to the log in the account's name.

    Read from the table itself: the API shows only rows that belong to a DAG.
    """
    lines = (standalone.state / "postgres" / "postmaster.pid").read_text().splitlines()
    connection: Any = psycopg2.connect(host=lines[4], dbname="airflow", user="postgres")
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM log")
        (last,) = cursor.fetchone()
        events: Counter[str] = Counter()
        yield events
        cursor.execute("SELECT event FROM log WHERE id > %s AND owner = 'admin'", (last,))
        events.update(event for (event,) in cursor.fetchall())


def test_only_triggers_are_written(standalone: Standalone, client: DagInferenceClient) -> None:
    """One audit row a run, however it is waited for, read, failed or watched."""
    with audit_rows(standalone) as events:
        made = client.call("leaf_value", timeout=90)
        client.wait("leaf_value", made.run.run_id, timeout=90)
        for _ in client.stream("mapped_result", timeout=90):
            pass
        with suppress(TaskFailed):
            client.invoke("from_a_factory", {"fail": True}, timeout=90)

    assert events == {"trigger_dag_run": 3}
