import pytest

from app.api.content import NotAcceptable, negotiate


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "png"),
        ("image/*", "png"),
        ("application/*", "zip"),
        ("application/zip", "zip"),
        ("Application/X-NPY", "npy"),
        ("application/x-npy, image/png;q=0.5", "npy"),
        ("application/zip;q=0.1, image/png;q=0.5, application/x-npy;q=0.3", "png"),
        ("*/*;q=0.1, application/zip", "zip"),
        ("image/png;q=0, */*", "zip"),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "png"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "png"),
        ("nonsense, image/png;q=nonsense, application/zip;q=0.2", "zip"),
    ],
)
def test_the_format_with_the_highest_quality_value_is_chosen(accept: str, form: str) -> None:
    assert negotiate(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg, image/webp", "image/png;q=0", "", "*/*;q=0"])
def test_an_unacceptable_request_lists_the_available_formats(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="image/png, application/zip, application/x-npy"):
        negotiate(accept)
