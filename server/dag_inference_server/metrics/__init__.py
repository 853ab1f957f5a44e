"""What Prometheus gets: the gRPC families that every board knows, and our own."""
