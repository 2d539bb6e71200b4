"""On which kind of store a fault test runs: `place` is a folder, and once more a bucket.

`make test-bucket` runs the bucket's turns, and `make test` a sample of those of the tests marked BOTH (`long`). FOLDER
says that the store has no part in a test, or that only folders have what it is about: locks, files, system calls, room
on a disk. What object storage has instead is in test_bucket.py and tests/models/registry/test_object_store.py.
"""

import pytest

PLACES = ["folder", pytest.param("bucket", marks=pytest.mark.bucket)]
LONG_IN_A_BUCKET = pytest.param("bucket", marks=pytest.mark.long)
BOTH = pytest.mark.parametrize("place", ["folder", LONG_IN_A_BUCKET], indirect=True)
FOLDER = pytest.mark.parametrize("place", ["folder"], indirect=True)
