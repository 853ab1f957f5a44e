"""What is measured against a fake Airflow, which answers at once and costs next to nothing."""
