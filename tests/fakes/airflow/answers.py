"""The bodies of Airflow 3.3's answers.

Keys and types are those of `airflow/api_fastapi/core_api/datamodels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from fakes.airflow import task_logs
from fakes.airflow.state import Dag, Event, Run, Task, TaskInstance, Version

Body: TypeAlias = dict[str, Any]


def stamp(moment: datetime | None) -> str | None:
    """A time, as pydantic writes it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


def dag(dag: Dag) -> Body:
    """`DAGResponse`."""
    return {
        "dag_id": dag.dag_id,
        "dag_display_name": dag.dag_id,
        "is_paused": dag.is_paused,
        "is_stale": dag.is_stale,
        "last_parsed_time": stamp(dag.last_parsed_time),
        "last_parse_duration": 0.1,
        "last_expired": None,
        "bundle_name": "dags-folder",
        "bundle_version": None,
        "relative_fileloc": f"{dag.dag_id}.py",
        "fileloc": f"/dags/{dag.dag_id}.py",
        "description": dag.description,
        "timetable_summary": None,
        "timetable_description": "Never, external triggers only",
        "timetable_partitioned": False,
        "timetable_periodic": False,
        "tags": [
            {"name": name, "dag_id": dag.dag_id, "dag_display_name": dag.dag_id}
            for name in sorted(dag.tags)
        ],
        "max_active_tasks": 16,
        "max_active_runs": 16,
        "max_consecutive_failed_dag_runs": 0,
        "has_task_concurrency_limits": False,
        "has_import_errors": dag.has_import_errors,
        "next_dagrun_logical_date": None,
        "next_dagrun_data_interval_start": None,
        "next_dagrun_data_interval_end": None,
        "next_dagrun_run_after": None,
        "allowed_run_types": None if dag.allowed_run_types is None else [*dag.allowed_run_types],
        "owners": ["airflow"],
        "is_backfillable": False,
        "file_token": "not-a-token",
    }


def dag_details(of: Dag) -> Body:
    """`DAGDetailsResponse`."""
    return dag(of) | {
        "catchup": False,
        "dag_run_timeout": None,
        "asset_expression": None,
        "doc_md": of.doc_md,
        "start_date": None,
        "end_date": None,
        "is_paused_upon_creation": None,
        "params": _params(of, None),
        "render_template_as_native_obj": False,
        "template_search_path": None,
        "timezone": "UTC",
        "last_parsed": stamp(of.last_parsed_time),
        "default_args": {},
        "rerun_with_latest_version": None,
        "owner_links": {},
        "is_favorite": False,
        "active_runs_count": sum(run.state == "running" for run in of.runs.values()),
        "concurrency": 16,
        "latest_dag_version": dag_version(of, of.latest),
    }


def dag_version(of: Dag, version: Version) -> Body:
    """`DagVersionResponse`."""
    return {
        "id": version.id,
        "version_number": version.number,
        "dag_id": of.dag_id,
        "bundle_name": "dags-folder",
        "bundle_version": None,
        "created_at": stamp(version.created_at),
        "dag_display_name": of.dag_id,
        "bundle_url": None,
    }


def dag_source(of: Dag, version: Version) -> Body:
    """`DAGSourceResponse`."""
    return {
        "content": version.source,
        "dag_id": of.dag_id,
        "version_number": version.number,
        "dag_display_name": of.dag_id,
    }


def _params(of: Dag, source: str | None) -> Body:
    """Those of a DAG, which its tasks have, too, and say where from."""
    nothing: Body = {"value": None, "schema": {}, "description": None, "source": source}
    return {name: {**nothing, **param} for name, param in of.params.items()}


def task(of: Dag, task: Task) -> Body:
    """`TaskResponse`."""
    return {
        "task_id": task.task_id,
        "task_display_name": task.task_id,
        "owner": "airflow",
        "start_date": None,
        "end_date": None,
        "trigger_rule": task.trigger_rule,
        "depends_on_past": False,
        "wait_for_downstream": False,
        "retries": 0.0,
        "queue": "default",
        "pool": "default_pool",
        "pool_slots": 1.0,
        "execution_timeout": None,
        "retry_delay": {"__type": "TimeDelta", "days": 0, "seconds": 300, "microseconds": 0},
        "retry_exponential_backoff": 0.0,
        "priority_weight": 1.0,
        "weight_rule": "downstream",
        "ui_color": "#e8f7e4",
        "ui_fgcolor": "#000",
        "template_fields": [],
        "downstream_task_ids": sorted(task.downstream),
        "doc_md": None,
        "operator_name": "EmptyOperator",
        "params": _params(of, "dag"),
        "class_ref": {
            "module_path": "airflow.providers.standard.operators.empty",
            "class_name": "EmptyOperator",
        },
        "is_mapped": task.is_mapped,
        "extra_links": [],
    }


def dag_run(run: Run) -> Body:
    """`DAGRunResponse`."""
    return {
        "dag_run_id": run.run_id,
        "dag_id": run.dag.dag_id,
        "logical_date": None,
        "queued_at": stamp(run.queued_at),
        "start_date": stamp(run.start_date),
        "end_date": stamp(run.end_date),
        "duration": _seconds(run.start_date, run.end_date),
        "data_interval_start": None,
        "data_interval_end": None,
        "run_after": stamp(run.run_after),
        "last_scheduling_decision": stamp(run.start_date),
        "run_type": "manual",
        "state": run.state,
        "triggered_by": "rest_api",
        "triggering_user_name": "gateway",
        "conf": run.conf,
        "note": run.note,
        "dag_versions": [dag_version(run.dag, run.version)],
        "bundle_version": None,
        "dag_display_name": run.dag.dag_id,
        "partition_key": None,
        "partition_date": None,
    }


def task_instance(run: Run, instance: TaskInstance) -> Body:
    """`TaskInstanceResponse`."""
    return {
        "id": instance.id,
        "task_id": instance.task_id,
        "dag_id": run.dag.dag_id,
        "dag_run_id": run.run_id,
        "map_index": instance.map_index,
        "logical_date": None,
        "run_after": stamp(run.run_after),
        "start_date": stamp(instance.start_date),
        "end_date": stamp(instance.end_date),
        "duration": _seconds(instance.start_date, instance.end_date),
        "state": instance.state,
        "try_number": instance.try_number,
        "max_tries": 0,
        "task_display_name": instance.task_id,
        "dag_display_name": run.dag.dag_id,
        "hostname": "",
        "unixname": "airflow",
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
        "operator": "EmptyOperator",
        "operator_name": "EmptyOperator",
        "queued_when": stamp(instance.start_date) if instance.try_number else None,
        "scheduled_when": stamp(instance.start_date) if instance.try_number else None,
        "pid": 1 if instance.try_number else None,
        "executor": None,
        "executor_config": "{}",
        "note": None,
        "rendered_map_index": str(instance.map_index) if instance.map_index >= 0 else None,
        "rendered_fields": {},
        "trigger": None,
        "triggerer_job": None,
        "dag_version": dag_version(run.dag, run.version),
    }


def xcom(run: Run, task_id: str, map_index: int) -> Body:
    """`XComResponseNative`."""
    return {
        "key": "return_value",
        "timestamp": stamp(run.instances[task_id, map_index].end_date),
        "logical_date": None,
        "map_index": map_index,
        "task_id": task_id,
        "dag_id": run.dag.dag_id,
        "run_id": run.run_id,
        "dag_display_name": run.dag.dag_id,
        "task_display_name": task_id,
        "run_after": stamp(run.run_after),
        "value": run.values[task_id, map_index],
    }


def task_log(run: Run, task_id: str, map_index: int, try_number: int) -> Body:
    """`TaskInstancesLogResponse`."""
    entries = run.logs.get((task_id, map_index, try_number), [])
    instance = run.instances[task_id, map_index]
    of = {
        "dag_id": run.dag.dag_id,
        "run_id": run.run_id,
        "task_id": task_id,
        "map_index": map_index,
        "try_number": try_number,
        "ti_id": instance.id,
    }
    return {"content": task_logs.lines(entries, of), "continuation_token": None}


def event(of: Dag, run_id: str, event: Event) -> Body:
    """`EventLogResponse`."""
    return {
        "event_log_id": of.events[run_id].index(event) + 1,
        "when": stamp(event.when),
        "dag_id": of.dag_id,
        "task_id": event.task_id,
        "run_id": run_id,
        "map_index": event.map_index,
        "try_number": event.try_number,
        "event": event.event,
        "logical_date": None,
        "owner": "somebody",
        "extra": event.extra,
        "dag_display_name": of.dag_id,
        "task_display_name": event.task_id,
    }


def page(name: str, rows: list[Body], total: int) -> Body:
    """A page of runs or of task instances, by offset."""
    return {
        name: rows,
        "total_entries": total,
        "total_entries_limit": None,
        "next_cursor": None,
        "previous_cursor": None,
    }


def results(run: Run, task_ids: Sequence[str]) -> Body:
    """What `/wait` says of a run: the values of these tasks, or of those declared as its result."""
    answer: Body = {"state": run.state}
    values: Body = {}
    for task_id, map_index in sorted(run.values):
        if task_id not in task_ids and (task_ids or not run.version.task(task_id).is_result):
            continue
        value = run.values[task_id, map_index]
        if map_index < 0:
            values[task_id] = value
        else:
            values.setdefault(task_id, []).append(value)
    if run.is_final and values:
        answer["results"] = values
    return answer
