"""Services of a running job: lease, retries, shutdown, heartbeats."""
