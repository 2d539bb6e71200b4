"""Responses of middleware to requests that it does not pass on."""

from fastapi.responses import JSONResponse

from app.problems.problem import problem, sentence

FOREIGN_ORIGIN = (
    "A web page of another origin sent this request, which is not allowed: use the page of this service or a program."
)
TOO_LONG = "the body is too long: a training request is a small JSON object, see GET /docs"


def answer_no_key(was_wrong: bool) -> JSONResponse:
    what = "This key is unknown" if was_wrong else "This needs a key"
    detail = f"{what}: send `Authorization: Bearer KEY`. The operator of the service makes keys with `acgan key NAME`."
    return problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def answer_bad_host() -> JSONResponse:
    detail = "A request needs exactly one Host header: a name or an address, with an optional port."
    return problem(400, detail, headers={"Connection": "close"})


def answer_wrong_host(name: str) -> JSONResponse:
    detail = (
        f"The host name {name[:100]!r} is not allowed: use localhost or the IP address of the service, or add the "
        "name to ACGAN_ALLOWED_HOSTS and restart the service."
    )
    return problem(421, detail)


def answer_foreign_origin() -> JSONResponse:
    return problem(403, FOREIGN_ORIGIN)


def answer_too_many_parameters(limit: int) -> JSONResponse:
    return problem(422, f"The query has more than {limit} parameters: GET /docs lists the valid ones.")


def answer_too_long() -> JSONResponse:
    return problem(413, sentence(TOO_LONG), headers={"Connection": "close"})
