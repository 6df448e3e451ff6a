"""The command line: verbs from `anychan.verbs`, every user's error one sentence and exit code 2."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jsonargparse import ArgumentParser

from anychan import __version__
from anychan.errors import AnychanError, ConfigError
from anychan.verbs import catalog, data, deploy, training

__all__ = ["main"]


class _Parser(ArgumentParser):
    """Raises our error in place of printing a usage page and leaving."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        text = " ".join(message.split())
        text = re.sub(
            r'^Parser key "(.*?)": Expected an? (.*?)\.? Got value: (.*)$', r"\1 is \3, but it must be \2", text
        )
        union = r'^Parser key "(.*?)": .*Union subtypes Subtypes: \[(.*?)\] Errors:.*Given value: (.*)$'
        text = re.sub(union, r"\1 is \3, but it must be one of \2", text).replace("NoneType", "null")
        text = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", re.sub(r"<class '(\w+)'>", r"\1", text))
        text = text.replace("one of one of", "one of")
        text = re.sub(r"^the following arguments are required: (\w+\.)?out$", "--out is required", text)
        text = re.sub(r"^the following arguments are required: (?:\w+\.)+(\w+)$", r"\1: name one at least", text)
        text = re.sub(r'^expected "(\w+)\.subcommand" to be one of {(.*?)}.*', r"\1: say what to do: \2", text)
        verbs = f"say what to do: {', '.join(_VERBS)}; `anychan --help` tells what each is for"
        raise ConfigError(verbs if text.startswith('expected "subcommand"') else text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 when all went well, 2 for a user's error (told in one sentence), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        parser = _build_parser()
        options = parser.parse_args(arguments)
        _VERBS[options.subcommand].run(options[options.subcommand])
        sys.stdout.flush()  # a full disk behind it is told here, not after the end
    except KeyboardInterrupt:
        print("anychan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as `| head` does
        return 0
    except (AnychanError, OSError) as error:
        if debug:
            raise
        if _tells():
            print(f"anychan: {error if isinstance(error, AnychanError) else _refused(error)}", file=sys.stderr)
        return 2
    return 0


def _refused(error: OSError) -> str:
    """What the system refused, where nobody below could say more."""
    if error.filename is None and error.errno == errno.ENOSPC:  # every file that we write is named
        with suppress(OSError):  # Python flushes it once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output: {error.strerror}"
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


def _tells() -> bool:
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # without several processes; the import takes a second
        return True
    from anychan.training.processes import tells

    return tells()


def _build_parser() -> ArgumentParser:
    describe = "Image classifiers for any subset of named channels."
    parser = _Parser(prog="anychan", description=describe, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"anychan {__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback with every error")
    verbs = parser.add_subcommands(required=True, dest="subcommand")
    for name, verb in _VERBS.items():
        options = _Parser(description=verb.purpose, allow_abbrev=False)
        verbs.add_subcommand(name, options, help=verb.purpose)
        verb.add_options(options)
    return parser


_VERBS = {**training.VERBS, **data.VERBS, **catalog.VERBS, **deploy.VERBS}
