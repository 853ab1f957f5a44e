"""A past: runs and task instances that ended long ago, straight into Airflow's database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg2

_DAGS = ["one_task", "slow_teardown", "early_failure"]
"""Whose past it is: DAGs that there are, because Airflow lists no others."""

_TASKS = 4
"""Task instances of each run."""

_DAYS = 60
"""How far back they reach."""

_RUNS = """
INSERT INTO dag_run (dag_id, run_id, run_type, state, triggered_by, triggering_user_name, conf,
  clear_number, span_status, queued_at, run_after, start_date, end_date, created_at, updated_at)
SELECT (%(dags)s)[1 + n %% %(kinds)s], 'grpc-' || md5(n::text), 'manual', 'success', 'REST_API',
  %(user)s, '{}', 0, 'not_started', at, at, at, at + interval '20 seconds', at,
  at + interval '20 seconds'
FROM (SELECT n, now() - interval '1 hour' - n * (%(days)s * interval '1 day') / %(runs)s AS at
  FROM generate_series(1, %(runs)s) AS n) AS past
"""

_INSTANCES = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, state, map_index, try_number, max_tries,
  pool, pool_slots, queue, priority_weight, operator, hostname, unixname, span_status,
  start_date, end_date, duration, updated_at)
SELECT uuidv7(), dag_id, run_id, 'task_' || n, 'success', -1, 1, 0, 'default_pool', 1,
  'default', 1, 'PythonOperator', '', '', 'not_started', start_date, end_date, 20, updated_at
FROM dag_run CROSS JOIN generate_series(1, %(tasks)s) AS n WHERE triggering_user_name = %(user)s
"""

_AGE = """
UPDATE dag_run SET queued_at = queued_at - interval '30 days',
  run_after = run_after - interval '30 days', created_at = created_at - interval '30 days',
  updated_at = updated_at - interval '30 days'
WHERE run_id = %(run_id)s
"""


def insert(socket_folder: Path, instances: int) -> None:
    """Have so many task instances of the past, of runs like the gateway's own."""
    runs = instances // _TASKS
    with closing(_connect(socket_folder)) as database, database.cursor() as cursor:
        # Every row's run is there, so that a million look-ups would only take time.
        cursor.execute("SET session_replication_role = replica")
        past = {"user": "history", "dags": _DAGS, "kinds": len(_DAGS)}
        cursor.execute(_RUNS, {**past, "runs": runs, "days": _DAYS})
        cursor.execute(_INSTANCES, {**past, "tasks": _TASKS})
    with closing(_connect(socket_folder)) as database, database.cursor() as cursor:
        # As a past is that came bit by bit: what autovacuum and checkpoints would do in the
        # midst of the measurement is done before.
        cursor.execute("VACUUM ANALYZE dag_run")
        cursor.execute("VACUUM ANALYZE task_instance")
        cursor.execute("CHECKPOINT")


def age(socket_folder: Path, run_id: str) -> None:
    """Make a run 30 days older than it is."""
    with closing(_connect(socket_folder)) as database, database.cursor() as cursor:
        cursor.execute(_AGE, {"run_id": run_id})
        if cursor.rowcount != 1:
            raise RuntimeError(f"there is no run {run_id}")


def _connect(socket_folder: Path) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=str(socket_folder), user="postgres", dbname="airflow")
    connection.autocommit = True
    return connection
