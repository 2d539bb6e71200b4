"""URLs in response bodies: paths of this service, with the prefix of a reverse proxy."""

from typing import Annotated

from pydantic import PlainSerializer

from app.security.root_path import with_prefix

Link = Annotated[str, PlainSerializer(with_prefix, return_type=str)]
