"""The kinds of store on which a fault test runs: `place` is a folder, and in a second run a bucket.

`make test-bucket` runs the tests with a bucket, and `make test` a sample of those marked BOTH (`long`). FOLDER means
that the test does not involve the store, or is about something that only folders have: locks, files, system calls, room
on a disk. test_bucket.py and tests/models/registry/test_object_store.py test the counterparts in object storage.
"""

import pytest

PLACES = ["folder", pytest.param("bucket", marks=pytest.mark.bucket)]
LONG_IN_A_BUCKET = pytest.param("bucket", marks=pytest.mark.long)
BOTH = pytest.mark.parametrize("place", ["folder", LONG_IN_A_BUCKET], indirect=True)
FOLDER = pytest.mark.parametrize("place", ["folder"], indirect=True)
