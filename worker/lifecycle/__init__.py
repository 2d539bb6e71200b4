"""What a running job needs: its lease, retries, shutdown, heartbeats."""
