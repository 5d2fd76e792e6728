"""The command line: arguments in, one answer on stdout, progress and errors on stderr.

Exit codes: 0 done, 2 the input is wrong (one sentence), 1 our fault, 130 stopped by Ctrl-C.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

from pruning_core import team
from pruning_core.commands import (
    compare,
    explain,
    export,
    inspect,
    interruption,
    jobs,
    lessons,
    models,
    preview,
    push,
    quantise,
    restore,
    run,
    search,
    sensitivity,
    speed,
    tickets,
    weights,
)
from pruning_core.commands.answer import NOTHING
from pruning_core.errors import PruningError, RunError

DONE: Final = 0
OUR_FAULT: Final = 1
WRONG_INPUT: Final = 2
STOPPED: Final = 130
COMMANDS: Final = (
    models,
    inspect,
    preview,
    explain,
    sensitivity,
    search,
    run,
    tickets,
    compare,
    export,
    push,
    quantise,
    speed,
    restore,
    weights,
    lessons,
    *jobs.COMMANDS,
)
MAX_MESSAGE: Final = 1000


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the problem and where help is, and end with code 2."""
        line = _error_line(f"{message}. See {self.prog} --help.")
        self.exit(WRONG_INPUT, line if _is_heard() else None)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code; nothing is raised.

    Args:
        argv: Arguments without the program's name; None takes those of the process.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else OUR_FAULT
    with interruption.noticed():
        try:
            _check_team(arguments)
            answer = arguments.answer(arguments)
            if answer is not NOTHING:
                _print(json.dumps(answer.document, indent=1) if arguments.json else answer.text)
        except KeyboardInterrupt:
            return _stopped()
        except BrokenPipeError:
            _discard_output()
            return DONE
        except Exception as error:  # the last line of defence: a person never sees a traceback
            if interruption.was_asked():
                return _stopped()
            if arguments.debug:
                traceback.print_exc()
            return _report(error)
    return DONE


def _check_team(arguments: argparse.Namespace) -> None:
    """Refuse commands that several processes would only repeat.

    Raises:
        RunError: If one of a team is asked to do anything but a run.
    """
    if arguments.answer is not run.answer and team.started().size > 1:
        raise RunError(
            "Several processes were started, and only the command run shares its work between "
            "them. Start this one without torchrun; searches and scans share a --storage instead."
        )


def _is_heard() -> bool:
    """Tell whether this process speaks for its team about what is wrong for all of it."""
    try:
        return team.started().is_first
    except RunError:
        return True


def _stopped() -> int:
    if _is_heard():
        sys.stderr.write("stopped\n")
    return STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m pruning_core",
        description="See what matters in a neural network, prune it, fine-tune it, export it.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        child = commands.add_parser(
            command.NAME, help=command.HELP, description=command.HELP, allow_abbrev=False
        )
        command.add_arguments(child)
        child.add_argument(
            "--json",
            action="store_true",
            help="print one JSON document to stdout instead of tables",
        )
        child.add_argument(
            "--debug", action="store_true", help="show the traceback when something goes wrong"
        )
        child.set_defaults(answer=command.answer)
    return parser


def _print(text: str) -> None:
    """Write ``text`` to stdout; characters its encoding lacks become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(safe + "\n")
    sys.stdout.flush()


def _report(error: Exception) -> int:
    """Print one line about ``error`` and return the exit code it stands for."""
    if isinstance(error, PruningError):
        if _is_heard() or not isinstance(error, team.ElsewhereError):
            sys.stderr.write(_error_line(f"{_who()}{error}"))
        return WRONG_INPUT
    lines = str(error).strip().splitlines() or [""]
    sys.stderr.write(
        _error_line(
            f"internal error, {type(error).__name__}: {lines[0][:200]} "
            "(add --debug for the details and report it)"
        )
    )
    return OUR_FAULT


def _who() -> str:
    """Name this process where it is not the first of a team."""
    return "" if _is_heard() else f"process {team.started().rank + 1}: "


def _error_line(text: str) -> str:
    """Return ``text`` as one printable line: names out of files cannot steer the terminal."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
    shown = shown if len(shown) <= MAX_MESSAGE else shown[: MAX_MESSAGE - 3] + "..."
    return f"error: {shown.encode('utf-8', 'backslashreplace').decode()}\n"


def _discard_output() -> None:
    """Let Python close a stdout that nobody reads any more without a second error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
