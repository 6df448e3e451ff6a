import builtins
import errno
import re
from pathlib import Path

import pytest

from anychan import errors
from anychan.errors import AnychanError, StorageError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, AnychanError)]
LEAVES = [error for error in CLASSES if error is not AnychanError]


def test_all_lists_every_class() -> None:
    assert sorted(error.__name__ for error in CLASSES) == errors.__all__
    assert len(CLASSES) == 9


PLAIN = [error for error in LEAVES if error is not StorageError]


@pytest.mark.parametrize("error", PLAIN, ids=lambda error: error.__name__)
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


def test_storage_error_is_the_systems_own_with_a_sentence() -> None:
    error = StorageError(Path("run/metrics.csv"), errno.ENOSPC)
    assert str(error) == "run/metrics.csv: the file cannot be written (No space left on device)"
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (28, "No space left on device", "run/metrics.csv")
