"""One poll of Airflow for every call in flight."""

from dag_inference_server.watcher.observer import WatcherObserver
from dag_inference_server.watcher.pace import Pace
from dag_inference_server.watcher.tracked import Follower, Snapshot
from dag_inference_server.watcher.watcher import Watcher

__all__ = ["Follower", "Pace", "Snapshot", "Watcher", "WatcherObserver"]
