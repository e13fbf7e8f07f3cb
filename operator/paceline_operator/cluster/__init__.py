"""The only I/O to Kubernetes: client, informer, work queue, lease, executor."""
