"""One handler for each kind of job."""
