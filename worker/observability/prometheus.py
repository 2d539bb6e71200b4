"""Disables the multi-process mode of prometheus_client. Import this before the first metric is created.

PROMETHEUS_MULTIPROC_DIR may be set for other programs (gunicorn with several processes). The library would then store
every metric in files of that folder, and fail if the folder does not exist.
"""

from prometheus_client import values

values.ValueClass = values.MutexValue
