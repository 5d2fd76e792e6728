"""Files of strangers: what is opened is what torch.load opens; everything else gets a sentence."""

import collections
import io
import itertools
import os
import pickle
import random
import signal
import struct
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from pruning_core.errors import DataError
from pruning_core.helpers import TOKEN_VARIABLE
from pruning_core.loading.intake import onnx_files, safetensors_files, sandbox, torch_files
from pruning_core.loading.intake.contents import RefusedFileError
from pruning_core.loading.intake.reading import read_upload
from pruning_core.loading.intake.sandbox import SANDBOX, Sandbox
from pruning_core.loading.intake.store import find, take_in
from pruning_core.loading.weights import read_weights
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import bench, dispatcher
from pruning_core.runs.store import Store
from tests.core import bad_files

SEEDS = int(os.environ.get("FILE_MUTATIONS", "150"))
MODELS = [entry for entry in bad_files.FILES if entry.kind == "model"]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return {name: path}


def values(contents, group=""):
    return {stored.name: stored.read() for stored in contents.groups[group]}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach().contiguous()), name


def saved(thing, **options):
    buffer = io.BytesIO()
    torch.save(thing, buffer, **options)
    return buffer.getvalue()


def many_kinds():
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    return collections.OrderedDict(
        {
            "plain.weight": base,
            "turned.weight": base.t(),
            "cut.weight": base[2:5, 1::2],
            "half.weight": base.half(),
            "brain.weight": base.bfloat16(),
            "double.weight": base.double(),
            "learned.weight": nn.Parameter(base * 2),
            "steps": torch.tensor(7),
            "flags": torch.tensor([True, False]),
            "small.ids": torch.arange(5, dtype=torch.int16),
        }
    )


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}])
def test_a_checkpoint_is_read_as_torch_load_reads_it(tmp_path, old, wrap):
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(wrap(many_kinds()), _use_new_zipfile_serialization=not old))
    whole = torch.load(path, weights_only=True)
    contents = torch_files.read_checkpoint(path)
    (group,) = contents.groups
    assert group == ("state_dict" if "state_dict" in whole else "")
    assert_same(values(contents, group), whole[group] if group else whole)


def test_a_dictionary_as_python_2_wrote_it_is_read(tmp_path):
    """Old checkpoints call OrderedDict with a list of pairs."""

    class Old(dict):
        def __reduce__(self):
            return (collections.OrderedDict, ([[name, value] for name, value in self.items()],))

    state = {"lin.weight": torch.randn(3, 2), "lin.bias": torch.randn(3)}
    path = tmp_path / "old.pth"
    path.write_bytes(saved(Old(state), _use_new_zipfile_serialization=False))
    assert_same(values(torch_files.read_checkpoint(path)), state)


def test_averaged_weights_are_a_second_group_and_the_optimiser_is_none(tmp_path):
    plain = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(plain.parameters())
    plain(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = {name: value.clone() for name, value in plain.state_dict().items()}
    averaged = {name: value + 1 for name, value in state.items()}
    everything = {
        "model_ema": averaged,
        "model": state,
        "optimizer": optimiser.state_dict(),
        "best": np.float64(0.5),
    }
    upload = take_in(written(tmp_path, "c.pth", saved(everything)))
    assert [group.name for group in upload.groups] == ["model", "model_ema"]
    for group, expected in zip(upload.groups, (state, averaged), strict=True):
        path, _ = find(group.reference)
        assert_same(read_weights(path), expected)


def test_shards_are_one_model_and_a_missing_one_is_named(tmp_path):
    parts = [{"a.weight": torch.ones(2, 3)}, {"b.weight": torch.zeros(3, 2, dtype=torch.half)}]
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    files = {}
    for name, part in zip(names, parts, strict=True):
        safetensors.torch.save_file(part, tmp_path / name)
        files[name] = tmp_path / name
    upload = take_in(files)
    assert_same(read_weights(find(upload.groups[0].reference)[0]), parts[0] | parts[1])
    with pytest.raises(DataError, match="2 shards; 1 are missing, the first is number 2"):
        take_in({names[0]: files[names[0]]})


def test_an_onnx_file_gives_the_weights_that_onnx_reads(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "fc.weight"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
        [numpy_helper.from_array(weight, "fc.weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    contents = onnx_files.read_onnx(path)
    assert_same(values(contents), {"fc.weight": torch.from_numpy(weight)})
    assert contents.details["operators"] == {"MatMul": 1}


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.label)
def test_each_bad_file_gets_its_reaction_and_a_short_sentence(tmp_path, entry):
    data = entry.make()
    began = time.monotonic()
    try:
        upload = take_in(written(tmp_path, entry.file, data))
    except DataError as error:
        found, text = "reject", str(error)
    else:
        warnings = upload.groups[0].warnings
        found, text = ("warn" if warnings else "accept"), " ".join(warnings)
    assert not list(tmp_path.glob("PWNED*"))
    assert found == entry.expect
    assert len(text) <= 200
    assert entry.says in text, text
    assert time.monotonic() - began < 130  # the limit of the sandbox itself, on any machine


def test_the_child_is_stopped_where_memory_or_time_run_out(tmp_path, monkeypatch):
    """The helper's own function forks here, so that tasks which no product has can be tried."""
    monkeypatch.setattr(sandbox, "SECONDS", 1.0)
    tasks = {
        "memory": lambda paths, target: {"n": len(bytearray(4 << 30))},
        "time": lambda paths, target: threading.Event().wait(),
        "busy": lambda paths, target: next(i for i in itertools.count() if i < 0),
        "disk": lambda paths, target: os.truncate(os.open(target, os.O_CREAT | os.O_RDWR), 1 << 30),
        "crash": lambda paths, target: os.kill(os.getpid(), signal.SIGKILL),
    }
    monkeypatch.setattr(sandbox, "_TASKS", tasks)
    says = {}
    for task in tasks:
        question = {"task": task, "paths": {}, "target": str(tmp_path / "out"), "size": 0}
        says[task] = sandbox._in_child(question)["refused"]
    assert "more memory than a file may" in says["memory"]
    assert "not read within 1 s" in says["time"]
    assert "not read within 1 s" in says["busy"]
    assert "cannot be read (OSError)" in says["disk"]
    assert "ended by the system" in says["crash"]


def test_a_child_cannot_answer_for_the_helper_or_read_its_questions(tmp_path, monkeypatch, capfd):
    def task(paths, target):
        os.write(1, b'{"result": "forged"}\n')
        return {"read": os.read(0, 100).decode()}

    reading, writing = os.pipe()
    os.write(writing, b"the next question")
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        monkeypatch.setattr(sandbox, "_TASKS", {"x": task})
        question = {"task": "x", "paths": {}, "target": str(tmp_path / "out"), "size": 0}
        assert sandbox._in_child(question) == {"result": {"read": ""}}
    finally:
        os.dup2(before, 0)
        for descriptor in (before, reading, writing):
            os.close(descriptor)
    assert capfd.readouterr().out == ""


def test_helper_processes_do_not_know_the_token_of_visitors(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "a-long-secret")
    monkeypatch.setenv("OTHER", "kept")
    given = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **options: given.append(options["env"]))
    Sandbox().start()
    bench._spawn(modest=True)
    store = Store(tmp_path / "state")
    dispatcher.spawn_worker(store, store.add(Recipe(model="bundled:mlp_digits"), threads=1))
    assert len(given) == 3
    for environment in given:
        assert "a-long-secret" not in environment.values()
        assert environment["OTHER"] == "kept"


def good_files():
    state = {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4)}
    buffer = safetensors.torch.save(state)
    return {
        "new.pth": (saved(state), state),
        "old.pth": (saved(state, _use_new_zipfile_serialization=False), state),
        "plain.safetensors": (buffer, state),
        "graph.onnx": (bad_files.onnx_model(), None),
    }


def read_directly(path):
    if path.suffix == ".safetensors":
        return safetensors_files.read_safetensors({path.name: path})
    return (onnx_files.read_onnx if path.suffix == ".onnx" else torch_files.read_checkpoint)(path)


def read_or_refused(path):
    try:
        contents = read_directly(path)
        found = {s.name: s.read() for group in contents.groups.values() for s in group}
    except RefusedFileError as error:
        return None, str(error)
    return found, ""


@pytest.mark.parametrize("name", list(good_files()))
def test_damaged_files_are_refused_or_hold_what_they_say(tmp_path, name):
    """FILE_MUTATIONS=2500 tries 10,000 in all.

    Values of formats without a checksum may change; names, shapes and types of what is opened are
    those of the original or differ because the header itself was changed into another valid one.
    """
    data, state = good_files()[name]
    draw = random.Random(name)
    refused = 0
    for number in range(SEEDS):
        changed = bytearray(data)
        if draw.random() < 0.3:
            del changed[draw.randrange(1, len(changed)) :]
        else:
            for _ in range(draw.choice((1, 1, 1, 4, 32))):
                place = draw.randrange(len(changed))
                changed[place] ^= 1 << draw.randrange(8)
        if bytes(changed) == data:
            continue
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(changed)
        found, text = read_or_refused(path)
        if found is None:
            refused += 1
            assert 0 < len(text) <= 200
        else:
            for tensor in found.values():
                assert tensor.is_contiguous()
                assert tensor.numel() * tensor.element_size() <= 4 * len(data) + 1_000_000
            if name == "new.pth" and state is not None and set(found) == set(state):
                shapes_agree = all(found[key].shape == state[key].shape for key in state)
                same = all(torch.equal(found[key], state[key]) for key in state)
                assert same or not shapes_agree or _is_pickle_changed(bytes(changed), data)
        path.unlink()
    assert refused > SEEDS // 10


def _is_pickle_changed(changed, data):
    """Tell whether the zip's list of tensors, which has a checksum too, says something else."""
    names = [zipfile.ZipFile(io.BytesIO(raw)) for raw in (changed, data)]
    pickles = [archive.read(archive.namelist()[0]) for archive in names]
    return pickles[0] != pickles[1]


def test_one_bit_of_a_checkpoint_s_values_does_not_pass(tmp_path):
    """torch.load does not notice: it ignores the checksums of the zip file."""
    state = {"w": torch.ones(64, 64)}
    data = bytearray(saved(state))
    place = data.find(struct.pack("<4f", 1, 1, 1, 1)) + 2000
    data[place] ^= 4
    path = tmp_path / "flipped.pth"
    path.write_bytes(data)
    assert not torch.equal(torch.load(path, weights_only=True)["w"], state["w"])
    with pytest.raises(RefusedFileError, match="checksum differs"):
        torch_files.read_checkpoint(path)


def test_what_was_read_once_is_not_read_again_and_bytes_decide(tmp_path, monkeypatch):
    files = written(tmp_path, "a.pth", saved({"w": torch.ones(2, 2)}))
    first = take_in(files)
    monkeypatch.setattr(SANDBOX, "ask", None)
    assert take_in(files).groups == first.groups


def test_a_file_may_be_named_from_the_folder_one_is_in(tmp_path):
    (tmp_path / "mine.pth").write_bytes(saved({"w": torch.ones(2, 2)}))
    assert take_in({"mine.pth": Path("mine.pth")}).groups[0].n_values == 4


def test_a_name_in_an_upload_cannot_leave_its_folder(tmp_path):
    upload = take_in(written(tmp_path, "x.pth", saved({"../../evil.weight": torch.ones(2, 2)})))
    place = find(upload.groups[0].reference)[0]
    assert place.parent == tmp_path / "state" / "uploads"
    with pytest.raises(DataError, match="No uploaded weights"):
        find("../../etc/passwd")


def test_a_summary_is_plain_data_and_nothing_of_a_pickle_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    path = tmp_path / "bare.pt"
    path.write_bytes(pickle.dumps({"w": Evil()}, protocol=2))
    with pytest.raises(RefusedFileError, match=r"holds code.*posix mkdir"):
        read_upload({"bare.pt": path}, tmp_path / "out.safetensors")
    assert not (tmp_path / "made").exists()


def test_a_view_that_negates_its_values_is_refused(tmp_path):
    values = torch._neg_view(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    for old in (False, True):
        data = saved({"w.weight": values}, _use_new_zipfile_serialization=not old)
        assert torch.load(io.BytesIO(data), weights_only=True)["w.weight"][0, 0] == -1
        with pytest.raises(RefusedFileError, match="stored as a view"):
            torch_files.read_checkpoint(written(tmp_path, "n.pt", data)["n.pt"])


@pytest.mark.parametrize(
    "state",
    [
        {"a.b": torch.ones(2, 2), "a": {"b": torch.zeros(2, 2)}},
        {"a": {"b": torch.zeros(2, 2)}, "a.b": torch.ones(2, 2)},
        {"a.b": {"w": torch.ones(2, 2)}, "a": {"b": {"w": torch.zeros(2, 2)}}},
    ],
)
def test_a_name_that_is_made_twice_is_refused(tmp_path, state):
    path = written(tmp_path, "d.pt", saved(state))["d.pt"]
    with pytest.raises(RefusedFileError, match=r"'a\.b' twice"):
        torch_files.read_checkpoint(path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_values_of_8_bits_with_a_scale_beside_them_are_refused_and_without_are_read(
    tmp_path, suffix
):
    write = safetensors.torch.save if suffix == "safetensors" else saved
    small = {"l.weight": torch.randn(4, 4).to(torch.float8_e4m3fn), "m.scale": torch.ones(3)}
    path = written(tmp_path, f"a.{suffix}", write(small))
    assert read_upload(path, tmp_path / "o.safetensors")["groups"][0]["n_tensors"] == 2
    scaled = small | {"l.weight_scale": torch.tensor(12.0)}
    with pytest.raises(RefusedFileError, match=r"'l\.weight_scale'.*not applied"):
        read_upload(written(tmp_path, f"b.{suffix}", write(scaled)), tmp_path / "o.safetensors")


def test_whole_numbers_are_no_weights_by_any_name_that_ends_so(tmp_path):
    state = {"in_proj_weight": torch.ones(4, 4, dtype=torch.int8), "l.weight": torch.ones(2, 2)}
    path = written(tmp_path, "i.safetensors", safetensors.torch.save(state))
    with pytest.raises(RefusedFileError, match="'in_proj_weight' holds whole numbers"):
        read_upload(path, tmp_path / "o.safetensors")


def test_weights_of_an_onnx_file_that_are_not_read_are_named(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Cast", ["v"], ["u"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["y", "u"], ["z"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [4, 3], [0.5] * 12),
            helper.make_tensor("v", TensorProto.BFLOAT16, [3, 2], [1.0] * 6),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    contents = onnx_files.read_onnx(tmp_path / "m.onnx")
    assert set(values(contents)) == {"w"}
    assert "'v' are left out" in contents.notes[0]
    assert "bfloat16" in contents.notes[0]


def test_an_onnx_file_that_writes_minus_one_for_any_size_is_opened(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "made by another framework",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [-1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [-1, 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "a")
    path = (tmp_path / "a").rename(tmp_path / "a.onnx")
    group = take_in({"a.onnx": path}).groups[0]
    assert np.array_equal(read_weights(find(group.reference)[0])["w"].numpy(), weight)
