"""A DAG that no closed reading can explain."""

from airflow.sdk import dag, get_current_context, task


def factory(dag_id):
    """A DAG that no closed reading can explain."""

    @dag(dag_id=dag_id, schedule=None)
    def made():
        @task
        def work():
            if get_current_context()["dag_run"].conf.get("fail"):
                raise ValueError("as told")
            return {"made": dag_id}

        @task(trigger_rule="all_done")
        def clean_up(worked):
            return {"cleaned": True}

        worked = work()
        clean_up(worked)
        return worked

    made()


factory("from_a_factory")
