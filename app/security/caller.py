"""Authorization: the role of a request's key, and the jobs that it may change."""

from collections.abc import MutableMapping
from typing import Any

from app.security.api_keys import Role
from models.errors import InvalidInput

CALLER = "acgan.caller"  # in the scope: the name of the request's key
ROLE = "acgan.role"  # in the scope: the role of that key
KEYED = "acgan.keyed"  # in the scope: True if this service has keys


class NotAllowed(InvalidInput, code="not-allowed"):
    """The role of the request's key does not allow it. The message names the required role."""


def role_of(scope: MutableMapping[str, Any]) -> Role | None:
    """Return the role of a request: admin if the service has no keys, None if it has keys and the request has none."""
    role: Role | None = scope.get(ROLE)
    return role if scope.get(KEYED) else Role.ADMIN


def require(scope: MutableMapping[str, Any], needed: Role) -> None:
    """Raises NotAllowed."""
    role = role_of(scope)
    if role is None or not role.includes(needed):
        raise NotAllowed(
            f"the key {scope.get(CALLER, '')!r} has the role {role or 'none'}, and this needs the role {needed}: ask "
            "the operator of the service for such a key"
        )


def require_own(scope: MutableMapping[str, Any], job_id: str, owner: str | None) -> None:
    """Raises NotAllowed if the job was started with another key and this key does not have the role admin."""
    require(scope, Role.TRAIN)
    if role_of(scope) is not Role.ADMIN and (owner is None or owner != scope.get(CALLER)):
        if owner is None:
            raise NotAllowed(f"job {job_id} was started without a known key: only the role admin can change it")
        raise NotAllowed(
            f"job {job_id} was started with the key {owner!r}: only that key, or a key with the role admin, can "
            "change it"
        )
