"""The rules of ARCHITECTURE.md that a machine can check: imports, and calls nobody makes."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "pruning_core"

# Imports point to the same layer or to an earlier one.
LAYERS = (
    (
        "errors",
        "inputs",
        "registry",
        "switches",
        "modes",
        "devices",
        "choices",
        "steps",
        "rounding",
        "team",
        "planning.recipe",
        "folders",
        "helpers",
    ),
    ("tasks",),
    ("loading",),
    ("streaming",),
    ("tracing",),
    ("granularities",),
    ("scoring",),
    ("planning",),
    ("preview", "savings", "surgery", "encodings"),
    ("evaluation", "tuning"),
    ("figures",),
    ("exporting",),
    ("quantising",),
    ("comparing",),
    ("lessons",),
    ("runs",),
    ("commands", "command_line"),
    ("__main__",),
)
FORBIDDEN = (
    "weights_only=False",
    "torch.jit.load",
    "export.load(",
    "allow_pickle=True",
    "yaml.load(",
    "pickle.load",
    "extractall(",
    "unsafe_allow_html",
    "eval(",
    "exec(",
    "shell=True",
)
# What opens programs of the person who starts the server or the command line, and nobody else's.
TRUSTED = {CORE / "loading" / "providers" / "program.py": {"export.load("}}
PRODUCT = tuple(sorted([ROOT / "app.py", *CORE.rglob("*.py"), *(ROOT / "pages").rglob("*.py")]))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Full names of what a file imports while it runs; imports for type checkers do not count."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        pending.extend(ast.iter_child_nodes(node))
    return found


def layer(module: str) -> int | None:
    """Place of a core module in LAYERS; the longest name that fits decides."""
    inner = module.removeprefix("pruning_core.")
    fits = [
        (len(name), place)
        for place, names in enumerate(LAYERS)
        for name in names
        if inner == name or inner.startswith(name + ".")
    ]
    return max(fits)[1] if fits else None


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


CORE_FILES = tuple(path for path in PRODUCT if CORE in path.parents)
PAGE_FILES = tuple(path for path in PRODUCT if CORE not in path.parents and path.exists())


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE_FILES, ids=ids)
def test_core_modules_import_their_own_layer_or_an_earlier_one(path):
    if path == CORE / "__init__.py":
        assert not {name for name in imports(path) if name.startswith("pruning_core")}
        return
    own = layer(module_name(path))
    assert own is not None, f"{ids(path)} belongs to no layer: add it to LAYERS"
    later = {
        name
        for name in imports(path)
        if name.startswith("pruning_core.") and (layer(name) or 0) > own
    }
    assert not later


@pytest.mark.parametrize("path", CORE_FILES, ids=ids)
def test_core_knows_nothing_of_streamlit_and_draws_only_in_figures(path):
    assert "streamlit" not in roots(path)
    assert "pages" not in roots(path)
    if CORE / "figures" not in path.parents:
        assert "plotly" not in roots(path)


@pytest.mark.parametrize("path", PAGE_FILES, ids=ids)
def test_pages_leave_tensors_and_drawing_to_the_core(path):
    assert not roots(path) & {"torch", "plotly"}


@pytest.mark.parametrize("path", PRODUCT, ids=ids)
def test_nothing_opens_files_that_can_run_code(path):
    code = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))  # without comments
    names = {
        ast.unparse(node.func) + "("
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
    }
    for call in set(FORBIDDEN) - TRUSTED.get(path, set()):
        if call in {"eval(", "exec("}:
            assert call not in names
        else:
            assert call not in code, call


@pytest.mark.parametrize("path", CORE_FILES, ids=ids)
def test_core_prints_nothing_and_catches_nothing_blindly(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "print"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
