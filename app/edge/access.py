"""What the key of a request allows: its role, and which jobs are its own."""

from collections.abc import MutableMapping
from typing import Any

from app.edge.keys import Role

CALLER = "acgan.caller"  # in the scope: the name of the key that a request came with
ROLE = "acgan.role"  # in the scope: the role of that key
KEYED = "acgan.keyed"  # in the scope: True if this service has keys


class NotAllowed(Exception):
    """The key of this request does not allow it. The message says which key would."""


def role_of(scope: MutableMapping[str, Any]) -> Role | None:
    """The role of a request; without any keys every request is an admin's, and with keys one without a key has none."""
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
    """Raises NotAllowed if a job was started with another key, and this one is no admin's."""
    require(scope, Role.TRAIN)
    if role_of(scope) is not Role.ADMIN and (owner is None or owner != scope.get(CALLER)):
        whose = f"the key {owner!r}" if owner else "no key that is known"
        raise NotAllowed(f"job {job_id} was started with {whose}: only that key, or one of the role admin, changes it")
