"""What the README promises is what happens."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pruning_core
from pruning_core import command_line
from pruning_core.command_line import COMMANDS
from pruning_core.exporting.exporter import EXPORTERS

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README", "CONTRIBUTING", "CHANGELOG", "DEPLOYMENT")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_python_snippet_runs_as_it_is_printed(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", f"import torch; torch.set_num_threads(1)\n{snippet}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Totals(params=")
    assert float(lines[-1]) > 0.9
    assert (tmp_path / "small.onnx").stat().st_size > 10_000


def test_the_snippet_uses_the_whole_public_interface():
    for name in pruning_core.__all__:
        assert re.search(rf"\b{name}\b", README), name
        assert callable(getattr(pruning_core, name))


def test_importing_a_submodule_does_not_hide_a_public_function():
    code = (
        "import pruning_core.preview, pruning_core.exporting.export\n"
        "from pruning_core import preview, export\n"
        "assert preview.__name__ == 'preview' and callable(preview) and callable(export)\n"
        "from pruning_core.preview import Preview\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'unprune'"):
        pruning_core.unprune  # noqa: B018


def test_every_command_and_format_is_named():
    for command in COMMANDS:
        assert re.search(rf"^\|.*`{command.NAME}\b.*\|$", COMMANDS_PAGE, re.MULTILINE), command.NAME
    for key in EXPORTERS:
        assert f"`{key}`" in COMMANDS_PAGE


def test_every_link_leads_to_a_file():
    for document in (ROOT / f"{name}.md" for name in DOCUMENTS):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (ROOT / target).exists(), f"{document.name}: {target}"


def test_every_command_of_the_deployment_guide_has_the_options_it_prints():
    text = (ROOT / "DEPLOYMENT.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"-m pruning_core ([^\n`]+)", text)
    assert len(commands) > 15
    for command in commands:
        arguments = shlex.split(command, comments=True)
        if arguments[0] != "run" or len(arguments) > 1:
            assert command_line._parser().parse_args(arguments).answer
        for path in re.findall(r"examples/\S+", command):
            assert (ROOT / path).is_file(), path


def test_the_two_commands_name_files_that_exist():
    for name in re.findall(r"(?:-r|run) ([\w.-]+\.(?:txt|py))", README):
        assert (ROOT / name).is_file(), name
