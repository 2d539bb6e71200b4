"""Content negotiation: chooses a format of digits."""

from models.errors import InvalidInput
from models.sampling.formats import FORMATS

MEDIA_TYPES = [form.media_type for form in FORMATS.values()]
SUPPORTED = f"supported formats are {', '.join(MEDIA_TYPES)}: accept one of them, or set ?format="


class NotAcceptable(InvalidInput, code="not-acceptable"):
    """The service supports none of the formats that the request accepts."""


def negotiate(accept: str) -> str:
    """Choose the format that `Accept` weights highest, png if several are equal. Raises NotAcceptable."""
    if accept == "*/*":
        return "png"
    liked = {name: quality(accept, form.media_type) for name, form in FORMATS.items()}
    best = max(liked, key=lambda name: liked[name])
    if liked[best] == 0:
        raise NotAcceptable(SUPPORTED)
    return best


def quality(accept: str, media_type: str) -> float:
    """Return the weight of a media type in `Accept`: that of the most specific range that matches it.

    See RFC 9110, section 12.5.1.
    """
    fitting = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    liked = [(0, 0.0)]
    for one in accept.lower().split(","):
        name, *parameters = (part.strip() for part in one.split(";"))
        weights = [value for key, _, value in (part.partition("=") for part in parameters) if key.strip() == "q"]
        try:
            liked.append((fitting[name], float(weights[0]) if weights else 1.0))
        except (KeyError, ValueError):
            continue
    return max(liked)[1]
