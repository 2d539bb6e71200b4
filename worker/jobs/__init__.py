"""Job records in Redis: the model, the scripts that change records, and the two clients."""
