"""Sends a message at a job's end, as the specification of Standard Webhooks requires (standardwebhooks.com)."""
