"""`python -m dag_inference_server`."""

from dag_inference_server.cli import main

main()
