"""What each DAG is: whether it can run, and which tasks give its result."""
