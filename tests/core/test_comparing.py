"""Finished runs beside each other: numbers, settings, tree, masks, answers; and imported runs."""

import io
import json
import stat
import struct
import zipfile

import numpy as np
import pytest
import torch

from pruning_core import Recipe
from pruning_core.command_line import main
from pruning_core.comparing.behaviour import Answers, behaviour
from pruning_core.comparing.compare import Side, compare
from pruning_core.comparing.overlap import overlaps
from pruning_core.comparing.tree import Entry, tree
from pruning_core.comparing.variant import AXES, Variant, final, front, variants_of
from pruning_core.errors import ExportError, PruningError, RunError, UnknownNameError
from pruning_core.exporting import reopen
from pruning_core.exporting.document import run_document, unpack_mask
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.schema import checked_report
from pruning_core.loading.dataset import load_dataset
from pruning_core.planning.difference import settings
from pruning_core.runs import comparisons, importing
from pruning_core.runs.importing import import_run
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.store import Store
from pruning_core.steps import run_to_end

UNITS = Recipe(
    model="bundled:cnn_digits",
    granularity="unit",
    target={"kind": "ratio", "value": 0.5},
    tuning={"epochs": 1},
)
WEIGHTS = Recipe(
    model="bundled:cnn_digits",
    target={"kind": "ratio", "value": 0.9},
    tuning={"epochs": 0},
    quantisation={"kind": "weights"},
)


@pytest.fixture(scope="module")
def results():
    """Two runs of one network: units removed and tuned, weights masked and quantised."""
    return [list(execute(recipe))[-1].result for recipe in (UNITS, WEIGHTS)]


@pytest.fixture(scope="module")
def folders(results, tmp_path_factory):
    paths = [tmp_path_factory.mktemp(name) for name in ("units", "weights")]
    for result, path in zip(results, paths, strict=True):
        write_run(result, path)
    return paths


# Numbers, front, tree, settings


def test_each_run_knows_its_networks_and_their_numbers(results):
    units, weights = (run_document(result) for result in results)
    speed = {
        "rows": [
            {"backend": "pytorch", "batch_size": 1, "threads": 1}
            | {"before": {"median_ms": 3.0}, "after": {"median_ms": 2.0}},
            {"backend": "pytorch", "batch_size": 32, "threads": 1}
            | {"before": {"median_ms": 30.0}, "after": {"median_ms": 20.0}},
        ]
    }
    dense, pruned, tuned = variants_of("a", units, speed)
    assert [one.stage for one in (dense, pruned, tuned)] == ["dense", "pruned", "tuned"]
    assert (dense.numbers["params"], tuned.numbers["params"]) == (38_378, results[0].counted.params)
    assert pruned.numbers["accuracy"] == results[0].pruned.accuracy
    assert tuned.numbers["f1"] == results[0].tuned.f1
    assert (dense.numbers["latency"], tuned.numbers["latency"]) == (3.0, 2.0)
    assert pruned.numbers["latency"] is None  # that network is gone, only its metrics are known
    assert tuned.numbers["latency_onnx"] is None
    stages = variants_of("b", weights)
    assert [one.stage for one in stages] == ["dense", "pruned", "int8"]
    assert final(stages).stage == "pruned"
    assert stages[2].numbers["bytes"] == results[1].quantised.int8_bytes
    assert stages[2].n == 500
    assert all(set(one.numbers) == set(AXES) for one in (dense, *stages))


def variant(**numbers):
    return Variant("r", "tuned", dict.fromkeys(AXES) | numbers, None, None)


def test_the_front_holds_what_no_other_network_beats():
    found = [
        variant(macs=10, accuracy=0.9),
        variant(macs=5, accuracy=0.8),
        variant(macs=5, accuracy=0.7),
        variant(macs=20, accuracy=0.85),
        variant(macs=1, accuracy=None),
        variant(macs=10, accuracy=0.9),
    ]
    assert front(found, "macs", "accuracy") == (1, 0)
    assert front(found, "accuracy", "macs") == (1, 0)
    assert front(found, "macs", "bytes") == ()
    with pytest.raises(UnknownNameError, match="axis"):
        front(found, "macs", "beauty")


def test_forks_stand_below_their_parent_and_share_its_pruned_network(results):
    stages = variants_of("a", run_document(results[0]))
    fork = Entry("fork", "m", "old", stages)
    lost = Entry("lost", "m", "deleted", stages)
    nodes = tree([fork, lost, Entry("old", "m", "", stages), Entry("other", "n", "", stages)])
    drawn = [(node.row, node.column, node.parent) for node in nodes]
    assert drawn == [
        *((0, 0, None), (0, 1, 0), (0, 2, 1)),  # dense, and the run whose parent is gone
        *((1, 1, 0), (1, 2, 3)),
        (2, 2, 3),  # the fork goes on from the pruned network of row 1
        *((3, 0, None), (3, 1, 6), (3, 2, 7)),
    ]


def test_only_settings_that_differ_are_listed():
    assert settings([UNITS, UNITS.replace()]) == ()
    found = {one.setting: one.values for one in settings([UNITS, WEIGHTS])}
    assert found == {
        "granularity": ("unit", "weight"),
        "target.value": ("0.5", "0.9"),
        "tuning.epochs": ("1", "0"),
        "quantisation.kind": ("none", "weights"),
        "quantisation.samples": ("none", "256"),
    }
    own = UNITS.replace(layers={"conv1": {"kind": "count", "value": 3}})
    assert {one.setting for one in settings([UNITS, own])} == {
        "layers.conv1.kind",
        "layers.conv1.value",
    }


# Masks


def test_overlap_equals_counting_zeros_in_the_restored_networks(results):
    """The oracle: masks and indices of both surgeries, put back into the dense shapes."""
    one, two = results
    ones = torch.nn.init.ones_
    alive = []
    for result in results:
        state = {name: torch.zeros_like(p) for name, p in one.model.module.named_parameters()}
        for name, parameter in result.surgery.module.named_parameters():
            stays = ones(torch.empty(parameter.shape))
            mask = result.surgery.masks.get(name)
            stays = stays if mask is None else stays * mask
            axes = result.surgery.kept.get(name, (None,) * parameter.ndim)
            indices = [
                np.arange(size) if kept is None else kept
                for size, kept in zip(state[name].shape, axes, strict=True)
            ]
            state[name][np.ix_(*indices)] = stays
        alive.append(state)
    found = {each.layer: each for each in overlaps(one.network, one.plan, two.plan)}
    for layer, each in found.items():
        names = [name for name in alive[0] if name.rpartition(".")[0] == layer]
        both = [torch.cat([state[name].flatten() for name in names]) > 0 for state in alive]
        assert each.neither == int((both[0] & both[1]).sum())
        assert each.both == int((~both[0] & ~both[1]).sum())
        assert each.only_first == int((~both[0] & both[1]).sum())
    gone = sum(each.only_second + each.both for each in found.values())
    assert gone == 38_378 - two.counted.nonzero
    same = overlaps(one.network, one.plan, one.plan)
    assert not any(each.only_first or each.only_second for each in same)


# Answers


def test_answers_are_compared_sample_by_sample():
    labels = np.array([0, 1, 2, 0, 1])
    first = Answers(np.array([0, 1, 2, 1, 0]), np.full(5, 0.9, np.float32), 3)
    confidence = np.array([0.5, 0.6, 0.9, 0.7, 0.5], np.float32)
    second = Answers(np.array([1, 1, 0, 0, 0]), confidence, 3)
    found = behaviour(first, second, labels)
    assert (found.both_right, found.both_wrong, found.n) == (1, 1, 5)
    assert found.lost.tolist() == [2, 0]  # the surest error first
    assert found.won.tolist() == [3]
    assert found.same == 0.4
    assert found.change[0] < -0.2 < found.change[1]


def test_two_runs_are_measured_on_the_same_samples(results, folders):
    found = run_to_end(compare(Side(folders[0], "tuned"), Side(folders[1], "pruned")))
    behaves = found["behaviour"]
    assert behaves["n"] == 500
    assert behaves["accuracy"] == [results[0].tuned.accuracy, results[1].pruned.accuracy]
    assert np.array_equal(behaves["confusion"][0], results[0].tuned.confusion)
    assert np.array_equal(behaves["confusion"][1], results[1].pruned.confusion)
    parts = [behaves[key] for key in ("both_right", "n_lost", "n_won", "both_wrong")]
    assert sum(parts) == 500
    data = load_dataset("digits").test
    modules = results[0].surgery.module, results[1].surgery.module
    for key, right in (("lost", 0), ("won", 1)):
        for example in behaves[key]:
            x, label = data.batch(slice(example["sample"], example["sample"] + 1))
            with torch.no_grad():
                named = [int(module(x).argmax()) for module in modules]
            assert example["named"] == named
            assert example["label"] == int(label) == named[right] != named[1 - right]
    assert behaves["lost"][0]["picture"]["shape"] == [8, 8, 1]
    json.dumps(found, allow_nan=False)


def test_dense_and_int8_can_be_sides_too(results, folders):
    dense = run_to_end(compare(Side(folders[1], "dense"), Side(folders[1], "int8")))
    assert dense["behaviour"]["accuracy"][0] == results[1].dense.accuracy
    assert dense["behaviour"]["accuracy"][1] == results[1].quantised.after.accuracy
    assert sum(each["only_first"] + each["both"] for each in dense["overlap"]) == 0
    without = run_to_end(compare(Side(folders[0], "int8"), Side(folders[0], "tuned")))
    assert "no int8 file" in without["reasons"]["behaviour"]


def test_comparisons_are_kept_by_their_pair(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))
    members = comparisons.Member("a", "tuned"), comparisons.Member("b", "dense")
    pair, other = comparisons.Pair(*members), comparisons.Pair(*members[::-1])
    comparisons.save(pair, {"n": float("nan")})
    assert comparisons.read(pair) == {"n": None}
    assert comparisons.read(other) is None


# The command


def test_the_command_compares_numbers_settings_masks_and_answers(folders, capsys):
    names = [str(folder) for folder in folders]
    assert main(["compare", *names, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["stage"] for one in document["runs"]] == ["tuned", "pruned"]
    assert document["behaviour"]["n"] == 500
    assert "picture" not in document["behaviour"]["lost"][0]
    assert main(["compare", names[0], f"{names[1]}:int8", f"{names[1]}:dense"]) == 0
    text = capsys.readouterr().out
    assert "quantisation.kind" in text
    assert "test samples" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "nowhere"], "no run folder"),
        (["{0}"], "2 to 50 runs"),
        (["{0}:int8", "{0}"], "no int8 file"),
    ],
)
def test_the_command_says_what_is_wrong(folders, capsys, arguments, said):
    assert main(["compare", *(text.format(folders[0]) for text in arguments)]) == 2
    assert said in capsys.readouterr().err


# Imported runs


def zipped(folder, *, home="run/", changes=None, links=()):
    """Return a zip of the run in ``folder`` in memory; ``changes`` replaces or adds files."""
    files = {f"{home}{path.name}": path.read_bytes() for path in folder.iterdir()}
    files |= changes or {}
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
        for name in links:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
    raw.seek(0)
    return raw


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "state")


@pytest.mark.parametrize("home", ["", "my run/", "a/b/"])
def test_an_imported_run_is_listed_like_any_other(results, folders, store, home):
    record = import_run(zipped(folders[0], home=home), "from afar.zip", store=store)
    assert (record.state, record.label) == ("done", "imported from afar")
    assert record.tuned == results[0].tuned.accuracy
    export = store.folder(record.id) / "export"
    assert {path.name for path in export.iterdir()} == {
        *("recipe.json", "report.json", "model.safetensors")
    }
    again = open_run(export)
    assert again.plan.fingerprint == results[0].plan.fingerprint
    known = json.loads((folders[0] / "report.json").read_bytes())
    read = json.loads((export / "report.json").read_bytes())
    assert read == {key: known[key] for key in read}
    (store.root / "jobs.sqlite3").write_bytes(b"damaged" * 1000)
    assert Store(store.root).get(record.id).state == "done"  # rebuilt from its folder


def report_with(folder, **changes):
    report = json.loads((folder / "report.json").read_bytes()) | changes
    return {"run/report.json": json.dumps(report).encode()}


BAD = {
    "traversal": (lambda f: {"run/../../evil.json": b"{}"}, "unsafe name"),
    "absolute": (lambda f: {"/tmp/evil.json": b"{}"}, "unsafe name"),
    "backslash": (lambda f: {"run\\..\\evil": b"x"}, "unsafe name"),
    "two runs": (lambda f: {"other/report.json": b"{}"}, "2 files called report.json"),
    "no weights": (lambda f: {"run/model.safetensors": None}, "lacks model.safetensors"),
    "other weights": (lambda f: {"run/model.safetensors": b"x" * 100}, "100 bytes"),
    "huge report": (lambda f: {"run/report.json": b" " * 16_000_001}, "16,000,001 bytes"),
    "many files": (lambda f: {f"run/{n}": b"" for n in range(200)}, "entries"),
    "no json": (lambda f: {"run/report.json": b"{"}, "not valid JSON"),
    "deep": (lambda f: {"run/report.json": b"[" * 200_000}, "report.json"),
    "twice": (
        lambda f: {
            "run/report.json": (f / "report.json")
            .read_bytes()
            .replace(b'"version": 1', b'"version": 1, "version": 1', 1)
        },
        "twice",
    ),
    "nan": (
        lambda f: {
            "run/report.json": (f / "report.json")
            .read_bytes()
            .replace(b'"version": 1', b'"version": 1, "x": NaN', 1)
        },
        "NaN",
    ),
    "other version": (lambda f: report_with(f, version=2), "no report of version 1"),
    "wrong type": (lambda f: report_with(f, layers="many"), "layers"),
    "accuracy of 2": (
        lambda f: report_with(f, accuracy={"dense": 2.0, "pruned": None, "tuned": None}),
        "accuracy.dense",
    ),
    "other masks": (lambda f: report_with(f, mask_fingerprint="0" * 64), "fingerprint differs"),
    "no masks": (lambda f: report_with(f, keep={}), "fingerprint differs"),
    "more parameters": (
        lambda f: report_with(f, params={"before": 38378, "after": 1}),
        "says 1 params",
    ),
    "other recipe": (
        lambda f: {"run/recipe.json": WEIGHTS.to_json().encode()},
        "different runs",
    ),
    "python model": (
        lambda f: {
            "run/recipe.json": UNITS.replace(model="python:os:getcwd").to_json().encode(),
            **report_with(
                f,
                model="python:os:getcwd",
                recipe_fingerprint=UNITS.replace(model="python:os:getcwd").fingerprint,
            ),
        },
        "run code",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_import_that_is_wrong_or_unsafe_is_refused_with_its_reason(folders, store, name):
    changes, said = BAD[name]
    archive = zipped(folders[0], changes=changes(folders[0]))
    with pytest.raises(PruningError, match=said) as caught:
        import_run(archive, "bad.zip", store=store)
    assert len(str(caught.value)) <= 300
    assert store.all() == ()
    assert list((store.root / "runs").iterdir()) == []
    assert not list(store.root.glob("import-*"))
    assert not (store.root.parent / "evil.json").exists()


def test_links_passwords_bombs_and_other_files_are_refused(folders, store):
    with pytest.raises(ExportError, match="no ordinary file"):
        import_run(zipped(folders[0], links=["run/link"]), "x", store=store)
    with pytest.raises(ExportError, match="no zip file"):
        import_run(io.BytesIO(b"PK\x03\x04 and then nothing"), "x", store=store)
    raw = bytearray(zipped(folders[0]).getvalue())
    place = raw.index(b"PK\x01\x02")
    raw[place + 8] |= 1
    with pytest.raises(ExportError, match="encrypted"):
        import_run(io.BytesIO(bytes(raw)), "x", store=store)
    bomb = zipped(folders[0], changes={"run/model.safetensors": b"\0" * 50_000_000})
    assert len(bomb.getvalue()) < 500_000
    with pytest.raises(ExportError, match=r"50,000,000 bytes"):
        import_run(bomb, "x", store=store)
    assert store.all() == ()


def test_weights_of_another_run_of_the_same_size_are_refused(folders, store):
    """All weights zero: as many bytes as the report says, and other numbers."""
    raw = (folders[0] / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    zeros = raw[:start] + bytes(len(raw) - start)
    archive = zipped(folders[0], changes={"run/model.safetensors": zeros})
    with pytest.raises(ExportError, match="nonzero"):
        import_run(archive, "x", store=store)


def test_masks_that_do_not_belong_to_the_model_are_never_unpacked(folders, store, monkeypatch):
    keep = json.loads((folders[0] / "report.json").read_bytes())["keep"]
    unpacked = []

    def unpack(packed):
        unpacked.append(packed["n"])
        return unpack_mask(packed)

    monkeypatch.setattr(reopen, "unpack_mask", unpack)
    first = next(iter(keep))
    for added, said in (
        ({f"x{n}": {"n": 10**8, "bits": ""} for n in range(3)}, "300,[0-9]{3},[0-9]{3} units"),
        ({"x": {"n": 10**8, "bits": ""}}, "no 'x' of 100000000 units"),
        ({first: {"n": 10**8, "bits": ""}}, f"no '{first}' of 100000000 units"),
    ):
        archive = zipped(folders[0], changes=report_with(folders[0], keep=keep | added))
        with pytest.raises(ExportError, match=said) as caught:
            import_run(archive, "x", store=store)
        assert str(store.root) not in str(caught.value)
    assert max(unpacked, default=0) <= 1000


def test_a_long_directory_or_header_is_refused_before_it_is_read(folders, store, monkeypatch):
    many = {f"run/{n:05}.txt": b"" for n in range(4000)}
    large = zipped(folders[0], changes=many).getvalue()
    raw = zipped(folders[0]).getvalue()
    locator = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, 10**7, 0)
    locator += struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZipFile", None)
        for archive in (large, raw[:-22] + locator + raw[-22:]):
            with pytest.raises(
                ExportError, match=r"directory of the zip file is too large|4,0\d\d entries"
            ):
                import_run(io.BytesIO(archive), "x", store=store)
    commented = raw[:-2] + b"\3\0PK!"
    assert import_run(io.BytesIO(commented), "x", store=store).state == "done"
    header = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}
    ).encode()
    weights = len(header).to_bytes(8, "little") + header
    report = json.loads((folders[0] / "report.json").read_bytes())
    changes = report_with(folders[0], bytes=report["bytes"] | {"after": len(weights)})
    archive = zipped(folders[0], changes=changes | {"run/model.safetensors": weights})
    monkeypatch.setattr(importing, "open_run", None)
    with pytest.raises(PruningError, match="20,000"):
        import_run(archive, "x", store=store)


def test_a_file_of_a_run_is_named_without_the_path_of_the_server(folders, store):
    raw = bytearray((folders[0] / "model.safetensors").read_bytes())
    place = raw.index(b"weight")
    raw[place : place + 6] = b"height"  # whole, and not of this model
    archive = zipped(folders[0], changes={"run/model.safetensors": bytes(raw)})
    with pytest.raises(ExportError, match=r"'model\.safetensors' is damaged") as caught:
        import_run(archive, "x", store=store)
    assert str(store.root) not in str(caught.value)
    with pytest.raises(ExportError) as caught:
        reopen.read_document(store.root / "report.json")
    assert str(store.root) not in str(caught.value)


@pytest.mark.parametrize(
    "added", [{"x": "![i](http://a.b/c.png)"}, {"<img src=x>": "1"}, {"threads": "\u00b2"}]
)
def test_an_environment_that_could_be_more_than_words_is_refused(folders, store, added):
    known = json.loads((folders[0] / "report.json").read_bytes())["environment"]
    known |= {"processor": "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "device": "cuda:0"}
    fine = zipped(folders[0], changes=report_with(folders[0], environment=known))
    assert import_run(fine, "x", store=store).state == "done"
    archive = zipped(folders[0], changes=report_with(folders[0], environment=known | added))
    with pytest.raises(ExportError, match="environment"):
        import_run(archive, "x", store=store)


def test_what_the_server_does_not_offer_is_refused_before_anything_is_loaded(folders, store):
    def refuse(recipe):
        raise RunError(f"{recipe.model} is not offered")

    with pytest.raises(RunError, match="not offered"):
        import_run(zipped(folders[0]), "x", check=refuse, store=store)


def test_a_report_of_a_stranger_loses_what_is_unknown(folders):
    report = json.loads((folders[0] / "report.json").read_bytes())
    found = checked_report(json.dumps(report | {"surprise": "<script>"}).encode())
    assert "surprise" not in found


def test_a_turned_bit_is_refused_with_a_sentence(folders, store):
    """zlib's own errors are no zip errors; bytes of files that are not read may be any."""
    whole = zipped(folders[0]).getvalue()
    said = []
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[place] ^= 8
        try:
            import_run(io.BytesIO(bytes(damaged)), "x", store=store)
        except PruningError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(20 < len(sentence) < 300 for sentence in said)
