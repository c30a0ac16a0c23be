"""Runs a function's real handler and kills this process, without warning, in the middle of its work.

python -m tests.e2e.dying_function FUNCTION before|after SERVICE.OPERATION N < event

`before`: as the N-th such call is about to go out; `after`: as soon as it has taken effect, before the function hears
of it. The function is configured by the environment.
"""

import json
import os
import signal
import sys
from typing import Any

import boto3

from gratis_local.functions import Context, handler_of

HOOKS = {"before": "before-call", "after": "after-call"}


def die_at(moment: str, call: str, count: int) -> None:
    """Clients that are created from now on end the process at their `count`-th `call`."""
    left = count

    def reached(**_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    boto3.setup_default_session()
    boto3._get_default_session().events.register(f"{HOOKS[moment]}.{call}", reached)


def main() -> None:
    function, moment, call, count = sys.argv[1:]
    die_at(moment, call, int(count))
    answer = handler_of(function)(json.load(sys.stdin), Context(function))
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
