"""An exception class for each kind of problem of drawing digits."""

from acgan_client.errors import Conflict, Unavailable


class NotVerified(Conflict):
    """Too few digits can be verified, or no judge exists for them."""

    code = "not-verified"


class Overloaded(Unavailable):
    """Too many digits or animations wait to be drawn."""

    code = "overloaded"


class StyleBankNotReady(Unavailable):
    """The styles of a generator's digits are being measured."""

    code = "style-bank-not-ready"
