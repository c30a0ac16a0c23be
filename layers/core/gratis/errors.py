"""Errors, grouped by what the caller must do."""


class GratisError(Exception):
    """Base of every error that Gratis raises on purpose."""


class Rejected(GratisError):
    """Will never succeed as it is: 4xx at the edge, quarantine behind the queue.

    `code` is one of SPEC section 5: invalid_event, too_old, in_the_future, too_large, conflict, unknown_request,
    no_organization; and internal_error for an event that fails in a way nobody foresaw.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Busy(GratisError):
    """Nothing more was recorded than the ledger already shows; the same call may work later."""
