"""A line of TAP for each check."""

import sys
import traceback
from pathlib import Path

_checks = []


def check(function):
    """Marks a function as one check; its docstring is its name."""
    _checks.append(function)
    return function


def same(found, expected, what="value"):
    """An assertion whose message says both sides."""
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def main():
    """Runs every check, in the order of the file, and goes on after one that fails."""
    print(f"1..{len(_checks)}")
    failed = 0
    for number, function in enumerate(_checks, 1):
        name = (function.__doc__ or function.__name__).strip().splitlines()[0]
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception as error:  # a check may fail in any way; that is what is reported
            failed += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            print(f"not ok {number} - {name} # {' '.join(why.split())[:600]}", flush=True)
    sys.exit(1 if failed else 0)
