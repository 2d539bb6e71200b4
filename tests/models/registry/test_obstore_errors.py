"""Errors of requests to object storage, over a real S3 endpoint."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from models.registry.storage.base import Unreachable
from tests.models.registry.test_object_store import FILES, ONE
from tests.support.s3_endpoint import SECONDS, Endpoint, Kind, open_store


@pytest.mark.parametrize("kind", ["refuse", "hang"])
def test_a_failure_that_repeats_is_described_by_the_same_sentence(
    endpoint: Endpoint, tmp_path: Path, kind: Kind
) -> None:
    """A job that waits for the store records its trouble again only if the sentence has changed."""
    storage = open_store(endpoint.address(), tmp_path / "here", seconds=SECONDS / 4).storage
    host = endpoint.url.partition("://")[2]
    stage = partial(storage.stage, ONE.folder, 1, {"samples.png": FILES["samples.png"]})  # below a new, random name
    steps: dict[str, Callable[[], object]] = {
        f"{ONE.folder}/samples.png cannot be written": stage,
        "latest.json cannot be read": partial(storage.read, "latest.json"),
    }
    for effect, step in steps.items():
        sentences = set()
        with endpoint.fault(kind):
            for _ in range(2):
                with pytest.raises(Unreachable) as failure:
                    step()
                sentences.add(str(failure.value))
        (sentence,) = sentences
        assert sentence.startswith(f"{effect}: ")
        assert host in sentence
