"""What a Kubernetes API server would refuse."""
