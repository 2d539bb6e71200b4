"""Reasons of errors of connections."""


def reason_of(error: OSError) -> str:
    """Return what went wrong in a connection or a file of certificates: OpenSSL's errors have a reason of their own."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else error.strerror or type(error).__name__
