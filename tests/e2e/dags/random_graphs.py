"""A DAG of each of the random graphs."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, get_parsing_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from graphs import MAP_LENGTH, MAPPED_GROUP, OPEN_END, POOL, Outcome, graphs


@task
def act(outcomes, value, index=0):
    """Do what the graph says."""
    match outcomes[index]:
        case Outcome.FAIL:
            raise AirflowFailException("as told")
        case Outcome.SKIP:
            raise AirflowSkipException("as told")
    return value


def build(graph):
    """The DAG of a graph."""
    groups, outputs = {}, {}
    with DAG(graph.dag_id, schedule=None, tags=[f"result:{graph.result.task_id}"]) as dag:
        for node in graph.nodes.values():
            if node.group == MAPPED_GROUP:
                if MAPPED_GROUP not in groups:
                    groups[MAPPED_GROUP] = map_group(graph, outputs)
            elif node.group:
                group = groups.setdefault(node.group, None) or TaskGroup(node.group)
                groups[node.group] = group
                with group:
                    outputs[node.name] = make(graph, node, outputs)
            else:
                outputs[node.name] = make(graph, node, outputs)
        act.override(task_id=OPEN_END, pool=POOL)(["success"], None)
        for node in graph.nodes.values():
            this = dag.get_task(node.task_id)
            this.set_upstream([dag.get_task(graph.nodes[name].task_id) for name in node.upstream])
            if node.is_setup:
                this.as_setup()
        for node in graph.nodes.values():
            if node.tears_down:
                setup = dag.get_task(graph.nodes[node.tears_down].task_id)
                dag.get_task(node.task_id).as_teardown(setups=setup)


def map_group(graph, outputs):
    """The mapped task group with all that is in it."""

    @task_group(group_id=MAPPED_GROUP)
    def mapped(index):
        for node in graph.nodes.values():
            if node.group == MAPPED_GROUP:
                make(graph, node, outputs, index)

    over = graph.group_mapped_over
    return mapped.expand(index=outputs[over] if over else [*range(MAP_LENGTH)])


def make(graph, node, outputs, index=None):
    """One task. One that only succeeds needs no worker."""
    is_result = node.name == graph.result.name
    needs_worker = node.is_held or node.is_source or node.has_indexes or is_result
    options = {"task_id": node.name, "trigger_rule": node.rule}
    if not needs_worker and node.outcomes == (Outcome.SUCCESS,):
        return EmptyOperator(**options)
    if node.is_held:
        options["pool"] = POOL
    value = [*range(MAP_LENGTH)] if node.is_source else {"of": node.task_id}
    told = {"outcomes": [*node.outcomes], "value": value}
    made = act.override(**options)
    if node.is_mapped:
        over = outputs[node.mapped_over] if node.mapped_over else [*range(MAP_LENGTH)]
        return made.partial(**told).expand(index=over)
    return made(**told) if index is None else made(**told, index=index)


# A worker parses the file for one task, and needs no other DAG than that task's.
wanted = get_parsing_context().dag_id
for graph in graphs():
    if wanted in {None, graph.dag_id}:
        build(graph)
