"""On which kind of store a fault test runs: `place` is a folder, and once more a bucket.

The bucket's turns are left to `make test-bucket`, but for those of the tests marked BOTH, which every run has. FOLDER
says that the store has no part in a test, or that only folders have what it is about: locks, files, system calls, room
on a disk. What object storage has instead is in test_bucket.py and tests/models/test_objects.py.
"""

import pytest

PLACES = ["folder", pytest.param("bucket", marks=pytest.mark.bucket)]
BOTH = pytest.mark.parametrize("place", ["folder", "bucket"], indirect=True)
FOLDER = pytest.mark.parametrize("place", ["folder"], indirect=True)
