"""Responses of middleware to requests that it does not pass on."""

from fastapi.responses import JSONResponse

from app.problems.problem import answer

FOREIGN_ORIGIN = (
    "A web page of another origin sent this request, which is not allowed. Use this service's own page, or a program."
)
TOO_LONG = "the body is too long"


def answer_no_key(was_wrong: bool) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"}
    if was_wrong:
        return answer("key-unknown", "this key is unknown", headers=headers)
    return answer("key-required", "this needs a key", headers=headers)


def answer_bad_host() -> JSONResponse:
    detail = "A request needs exactly one Host header: a name or an address, with an optional port."
    return answer("malformed-request", detail, headers={"Connection": "close"})


def answer_wrong_host(name: str) -> JSONResponse:
    detail = (
        f"The host name {name[:100]!r} is not allowed: use localhost or the IP address of the service, or add the "
        "name to ACGAN_ALLOWED_HOSTS and restart the service."
    )
    return answer("host-not-allowed", detail)


def answer_foreign_origin() -> JSONResponse:
    return answer("foreign-origin", FOREIGN_ORIGIN)


def answer_too_many_parameters(limit: int) -> JSONResponse:
    return answer("invalid-input", f"The query has more than {limit} parameters: GET /docs lists the valid ones.")


def answer_too_long() -> JSONResponse:
    return answer("body-too-long", TOO_LONG, headers={"Connection": "close"})
