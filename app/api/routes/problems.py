"""The description of each kind of error, at the address that is the `type` of its problems."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.exceptions import HTTPException

from app.api.guarded_route import GuardedRoute
from app.problems.codes import PROBLEMS
from app.problems.problem import ProblemDescription

router = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/problems/{code}")
async def get_problem(code: Annotated[str, Path(examples=["job-not-found"])]) -> ProblemDescription:
    """Describe a kind of error, given its code."""
    if code not in PROBLEMS:
        raise HTTPException(404)
    return ProblemDescription.of(code)
