"""Keeps prometheus_client to one process. Import this before the first figure is made.

PROMETHEUS_MULTIPROC_DIR is meant for other programs of the same environment (gunicorn with several processes): with it,
the library keeps every figure in files of that folder, and fails if the folder does not exist.
"""

from prometheus_client import values

values.ValueClass = values.MutexValue
