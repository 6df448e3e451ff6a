import builtins
import re

import pytest

from anychan import errors
from anychan.errors import AnychanError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]
LEAVES = [error for error in CLASSES if error is not AnychanError]


def test_all_lists_every_class() -> None:
    assert sorted(error.__name__ for error in CLASSES) == errors.__all__
    assert len(CLASSES) == 8


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_error_is_caught_as_the_root_and_as_a_builtin(error: type[Exception]) -> None:
    root, builtin = error.__bases__
    assert root is AnychanError
    assert builtin in (ValueError, RuntimeError)
    for caught in (AnychanError, builtin):
        with pytest.raises(caught, match="what was given"):
            raise error("what was given")


def test_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"[├└]── (\w+) .*\((\w+)\)$", errors.__doc__ or "", re.MULTILINE)
    assert {name: getattr(builtins, base) for name, base in drawn} == {
        error.__name__: error.__bases__[1] for error in LEAVES
    }


def test_root_is_no_builtin_error() -> None:
    assert AnychanError.__bases__ == (Exception,)
