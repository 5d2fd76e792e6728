"""Start the server: ``python app.py``; on this machine only, unless ``--allow-remote`` is given."""

import argparse
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NoReturn

from pruning_core.helpers import TOKEN_VARIABLE

_APP: Final = Path(__file__).resolve().parents[2] / "app.py"
_LOCAL: Final = ("localhost", "127.0.0.1")
_WITH_PATHS: Final = ("weights", "program", "transformers")
_PROMISES: Final = """\
Pruning Studio can be reached from other machines ({address}).
  Promised:     whoever does not know the token sees and does nothing; no uploaded file runs
                code; files are read by a process with little memory and time; what is kept of
                uploads, the queue and visitors with the token are capped.
  Not promised: encryption (put a proxy with TLS in front), separate users (all who know the token
                share models, uploads and runs), limits on processor time of runs, or on memory:
                whoever reaches the address can open connections, and those with the token can send
                many files. Let only trusted networks reach it.
  Token:        {token}
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. See python app.py --help.\n")


def main(arguments: Sequence[str]) -> int:
    """Replace this process by the server; return only when the arguments are wrong."""
    parser = _Parser(prog="python app.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--allow-remote", action="store_true", help="let other machines in, by token"
    )
    parser.add_argument(
        "--allowed-host", action="append", default=[], help="name by which browsers may call it"
    )
    parser.add_argument("--browser", action="store_true", help="open a browser")
    found, offered = parser.parse_known_args(arguments)
    if not is_loopback(found.host) and not found.allow_remote:
        sys.stderr.write(
            f"error: {found.host} can be reached from other machines. Add --allow-remote: visitors "
            "then need a token. See SECURITY.md.\n"
        )
        return 2
    environment = dict(os.environ)
    hosts = [*_LOCAL, *found.allowed_host]
    if found.allow_remote:
        given = environment.get(TOKEN_VARIABLE, "").strip()  # an empty one is none
        environment[TOKEN_VARIABLE] = given or secrets.token_urlsafe(24)
        hosts += _own_names(found.host)
        shown = _PROMISES.format(
            address=f"{found.host}:{found.port}", token=environment[TOKEN_VARIABLE]
        )
        sys.stdout.write(shown)
        sys.stdout.flush()
    offered = [_from_anywhere(word) for word in offered]
    os.chdir(_APP.parent)  # its configuration counts only there
    started = command(found.host, found.port, hosts, found.browser, offered)
    return _become(started, environment)


def _become(started: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    os.execve(started[0], list(started), dict(environment))


def command(
    host: str,
    port: int,
    hosts: Sequence[str],
    browser: bool,
    offered: Sequence[str],
) -> list[str]:
    """Return the command that starts Streamlit with every setting that keeps it safe."""
    settings = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": str(not browser).lower(),
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "server.fileWatcherType": "none",
        "client.showErrorDetails": "none",
        "browser.gatherUsageStats": "false",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    options += [f"--server.allowedHosts={name}" for name in dict.fromkeys(hosts)]
    return [sys.executable, "-m", "pages.common.server", "run", str(_APP), *options, "--", *offered]


def _from_anywhere(word: str) -> str:
    """Return a word of the command line with the path of a file or folder in it made absolute."""
    prefix, colon, name = word.partition(":")
    if not colon and Path(word).exists():
        return str(Path(word).absolute())
    if prefix in _WITH_PATHS:
        file, at, architecture = name.partition("@")
        if Path(file).exists():
            return f"{prefix}:{Path(file).absolute()}{at}{architecture}"
    return word


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_names(host: str) -> list[str]:
    """Return the names and addresses by which other machines call this one."""
    name = socket.gethostname()
    names = [name, socket.getfqdn()]
    with suppress(OSError):
        names += [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET)]
    return names if host in {"0.0.0.0", "::"} else [*names, host]
