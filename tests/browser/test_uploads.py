"""Files of strangers through the real uploader.

``UPLOADS=all`` sends all of them; ``python -m benchmarks.uploads`` does that with the clock.
"""

import os

import pytest

from benchmarks.uploads import Uploader, corpus, traces

pytestmark = pytest.mark.browser

SOME = {
    "pt_evil_zip.pth",
    "pt2_evil_inputs.pt2",
    "pt_zip_bomb.pt",
    "onnx_ext_dotdot.onnx",
    "pt_ok_half.pth",
    "npz_bomb.npz",
}


def test_files_of_strangers_get_their_answer_run_nothing_and_leave_the_server_well(
    page, server, tmp_path
):
    items = corpus(tmp_path)
    if os.environ.get("UPLOADS") != "all":
        items = [item for item in items if item.name in SOME]
    assert len(items) >= len(SOME)
    before = traces(server.state)
    uploader = Uploader(page, server.url, server.pid)
    is_clean = False
    for item in items:
        if not is_clean:
            uploader.open()  # what was opened before stays on the page
        answer = uploader.send(item)
        is_clean = answer.verdict == "reject"
        assert answer.problems(item) == [], (item.name, answer)
    assert traces(server.state) == before
