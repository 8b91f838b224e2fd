from __future__ import annotations

from onetribe_bc.errors import Bc2otError, ExitCode


def test_the_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "INCOMPLETE": 1,
        "USAGE": 2,
        "CONFIGURATION": 3,
        "REFUSED": 4,
        "UNREACHABLE": 5,
        "BUSY": 6,
        "BUG": 70,
        "INTERRUPTED": 130,
    }


def _tree(kind: type[Bc2otError]) -> list[type[Bc2otError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _tree(child))]


def test_no_expected_error_has_the_exit_code_of_a_bug() -> None:
    kinds = [kind for kind in _tree(Bc2otError)[1:] if kind.__module__ == "onetribe_bc.errors"]
    assert len(kinds) > 10
    assert all(kind.exit_code is not ExitCode.BUG for kind in kinds)
