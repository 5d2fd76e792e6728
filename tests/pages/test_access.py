"""Who may use the server, and the command that starts it."""

import http.client
import urllib.request
from urllib.parse import urlsplit

import pytest
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from pages.common import access, launch
from tests.browser.conftest import serve


def test_with_a_token_nothing_is_drawn_before_it_is_given(app, monkeypatch):
    monkeypatch.setenv(access.TOKEN_VARIABLE, "a-long-secret")
    monkeypatch.setattr(access, "_WAIT", 0)
    app.run()
    assert [field.label for field in app.text_input] == ["Token"]
    assert not app.metric
    app.text_input[0].set_value("a-long-secre")
    app.button[0].click().run()
    assert "not the token" in app.error[0].value
    assert not app.metric
    app.text_input[0].set_value("a-long-secret")
    app.button[0].click().run()
    assert not app.exception
    assert app.metric


@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_an_address_for_other_machines_without_a_token_shows_nothing(app, monkeypatch, address):
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    before = config.get_option("server.address")
    config.set_option("server.address", address)
    try:
        app.run()
    finally:
        config.set_option("server.address", before)
    assert "has no token" in app.error[0].value
    assert not app.metric


def started(monkeypatch, *arguments):
    calls = []
    monkeypatch.setattr(launch, "_become", lambda line, env: calls.append((line, env)) or 0)
    monkeypatch.setattr(launch.os, "chdir", lambda _: None)
    return launch.main(arguments), *(calls[0] if calls else ((), {}))


def test_it_listens_on_this_machine_and_hands_on_what_is_offered(monkeypatch):
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    code, line, environment = started(monkeypatch, "--model", "mine:net", "--data", "d.npz")
    assert code == 0
    assert "--server.address=127.0.0.1" in line
    assert [part for part in line if "allowedHosts" in part] == [
        "--server.allowedHosts=localhost",
        "--server.allowedHosts=127.0.0.1",
    ]
    assert "--client.showErrorDetails=none" in line
    assert line[line.index("--") + 1 :] == ["--model", "mine:net", "--data", "d.npz"]
    assert access.TOKEN_VARIABLE not in environment


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::"])
def test_other_machines_need_the_wish_and_then_a_token(monkeypatch, capsys, host):
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    assert started(monkeypatch, "--host", host)[0] == 2
    assert "--allow-remote" in capsys.readouterr().err
    code, line, environment = started(
        monkeypatch, "--host", host, "--allow-remote", "--allowed-host", "studio.example"
    )
    token = environment[access.TOKEN_VARIABLE]
    shown = capsys.readouterr().out
    assert code == 0
    assert len(token) >= 32
    assert token in shown
    assert token not in " ".join(line)
    assert "Not promised" in shown
    assert "--server.allowedHosts=studio.example" in line


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_token_does_not_let_everybody_in(monkeypatch, empty):
    monkeypatch.setenv(access.TOKEN_VARIABLE, empty)
    code, _, environment = started(monkeypatch, "--host", "0.0.0.0", "--allow-remote")
    assert code == 0
    assert len(environment[access.TOKEN_VARIABLE]) >= 32
    assert started(monkeypatch, "--host", "")[0] == 2


def test_who_has_not_given_the_token_takes_no_place(app, monkeypatch):
    waiting = {str(number) for number in range(2 * access.MOST_SESSIONS)}
    monkeypatch.setattr(access, "_connected", lambda: waiting)
    monkeypatch.setattr(access, "_admitted", {"0"})
    app.run()
    assert not app.error
    assert app.metric


def test_a_full_server_says_so_after_the_token(app, monkeypatch):
    everybody = {str(number) for number in range(access.MOST_SESSIONS)}
    monkeypatch.setattr(access, "_connected", lambda: everybody)
    monkeypatch.setattr(access, "_admitted", set(everybody))
    monkeypatch.setenv(access.TOKEN_VARIABLE, "a-long-secret")
    monkeypatch.setattr(access, "_WAIT", 0)
    app.run()
    assert [field.label for field in app.text_input] == ["Token"]
    assert not app.error
    app.text_input[0].set_value("a-long-secret")
    app.button[0].click().run()
    assert "50 visitors" in app.error[0].value
    assert not app.metric


def test_paths_are_those_of_the_folder_one_is_in(monkeypatch, tmp_path):
    (tmp_path / "net.pt2").touch()
    monkeypatch.chdir(tmp_path)
    words = ["--model", "net.pt2", "--model", "weights:net.pt2@bundled:lenet_5", "--model", "a:b"]
    _, line, _ = started(monkeypatch, *words)
    path = tmp_path / "net.pt2"
    given = ["--model", str(path), "--model", f"weights:{path}@bundled:lenet_5", "--model", "a:b"]
    assert line[line.index("--") + 1 :] == given
    assert line[1:4] == ["-m", "pages.common.server", "run"]


def upload(url, session, cookie):
    """Send a file as the browser does; return the status of the answer."""
    place = urlsplit(url)
    link = http.client.HTTPConnection(place.hostname, place.port)
    field = b'Content-Disposition: form-data; name="f"; filename="a.bin"'
    token = cookie.partition("=")[2].strip('"')
    headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Xsrftoken": token}
    body = b"--x\r\n" + field + b"\r\n\r\n123\r\n--x--\r\n"
    address = f"/_stcore/upload_file/{session}/file-1"
    link.request("PUT", address, body, headers | {"Cookie": cookie})
    return link.getresponse().status


def test_files_of_whoever_did_not_give_the_token_are_refused(tmp_path, monkeypatch):
    """Those of others are taken: tests/browser/test_uploads.py."""
    monkeypatch.setenv(access.TOKEN_VARIABLE, "a-long-word")
    with serve(tmp_path / "state") as server:
        with urllib.request.urlopen(f"{server.url}/_stcore/health") as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        address = server.url.replace("http", "ws") + "/_stcore/stream"
        with connect(address, subprotocols=["streamlit"], max_size=None) as link:
            message = BackMsg()
            message.rerun_script.query_string = ""
            link.send(message.SerializeToString())
            session, kind = "", ""
            while kind != "script_finished":
                message = ForwardMsg.FromString(link.recv())
                kind = message.WhichOneof("type")
                if kind == "new_session":
                    session = message.new_session.initialize.session_id
            assert upload(server.url, session, cookie) == 400
