"""What a check raises."""


class Broken(BaseException):
    """A promise does not hold. Nothing in the core may catch this and carry on.

    `promise`: which one, in a few words; `check`: who found it; `stuck`: something computes for ever.
    """

    def __init__(self, promise: str, message: str, *, stuck: bool = False) -> None:
        super().__init__(f"{promise}: {message}")
        self.promise = promise
        self.message = message
        self.stuck = stuck
        self.check = "machines"
