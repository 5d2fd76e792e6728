"""Data of one's own: formats, refusals, splits, and what a first look at a model says."""

import gzip
import io
import os
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from pruning_core.errors import DataError
from pruning_core.evaluation.baseline import baseline
from pruning_core.loading import own_data
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.intake import store
from pruning_core.loading.model import load_model
from pruning_core.loading.own_data import keep_card, load_own, split_sizes, take_in_data
from pruning_core.loading.permitted import permit
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.store import Store
from tests.core import bad_files

DATA = [entry for entry in bad_files.FILES if entry.kind in {"data", "images"}]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PRUNING_STUDIO_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return {name: path}


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


X = np.arange(40 * 4 * 5, dtype=np.uint8).reshape(40, 4, 5)
Y = np.arange(40) % 4


@pytest.mark.parametrize("entry", DATA, ids=lambda entry: entry.label)
def test_each_bad_file_of_data_gets_its_reaction_and_a_short_sentence(tmp_path, entry):
    shape = (1, 8, 8) if entry.kind == "data" else None
    try:
        card = take_in_data(written(tmp_path, entry.file, entry.make()), shape)
    except DataError as error:
        found, text = "reject", str(error)
    else:
        found, text = ("warn" if card.notes else "accept"), " ".join(card.notes)
    assert not list(tmp_path.rglob("PWNED*"))
    assert found == ("accept" if entry.expect == "safe" else entry.expect)
    assert len(text) <= 200
    assert entry.says in text, text


def test_arrays_become_splits_that_share_no_sample_and_keep_every_value(tmp_path):
    card = take_in_data(written(tmp_path, "d.npz", npz(x=X, y=Y)), (1, 4, 5))
    data = load_own(keep_card(card))
    assert data.input_shape == (1, 4, 5)
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [28, 6, 6]
    rows = torch.cat([part.inputs for part in parts]).reshape(40, -1)
    labels = torch.cat([part.labels for part in parts])
    expected = {(tuple(x.ravel().tolist()), int(y)) for x, y in zip(X, Y, strict=True)}
    assert {(tuple(x.tolist()), int(y)) for x, y in zip(rows, labels, strict=True)} == expected
    seen, _ = data.train.batch(slice(None))
    stored = data.train.inputs.double() / 255
    assert card.mean == pytest.approx(float(X.astype(float).mean() / 255), abs=1e-6)
    assert torch.allclose(seen.double(), (stored - card.mean) / card.std, atol=1e-5)


def test_a_file_that_divides_itself_keeps_its_test_samples(tmp_path):
    data = npz(x_train=X, y_train=Y, x_test=X[:8] + 1, y_test=Y[:8])
    made = load_own(keep_card(take_in_data(written(tmp_path, "d.npz", data))))
    assert torch.equal(made.test.inputs[:, 0], torch.from_numpy(X[:8] + 1))
    assert len(made.train) + len(made.validation) == 40


@pytest.mark.parametrize("share", [0.02, 0.15, 0.3, 0.45])
@pytest.mark.parametrize("parts", [("x",), ("x_train", "x_test"), ("x_test",)])
def test_the_sizes_that_are_shown_are_those_of_the_splits_and_no_sample_is_in_two(
    tmp_path, parts, share
):
    arrays = {}
    for number, name in enumerate(parts):
        arrays |= {name: X + number, name.replace("x", "y"): Y}
    card = take_in_data(written(tmp_path, "d.npz", npz(**arrays)))
    card = replace(card, shares=(1 - 2 * share, share, share))
    made = load_own(keep_card(card))
    parts = (made.train, made.validation, made.test)
    assert split_sizes(card) == tuple(len(part) for part in parts)
    rows = [tuple(row.tolist()) for part in parts for row in part.inputs.reshape(len(part), -1)]
    assert len(set(rows)) == len(rows) == 40 * len(arrays) // 2


def test_idx_files_of_images_and_labels_go_together(tmp_path):
    images = struct.pack(">IIII", 2051, 40, 4, 5) + X.tobytes()
    labels = struct.pack(">II", 2049, 40) + Y.astype(np.uint8).tobytes()
    files = written(tmp_path, "train-images-idx3-ubyte.gz", gzip.compress(images))
    files |= written(tmp_path, "train-labels-idx1-ubyte.gz", gzip.compress(labels))
    made = load_own(keep_card(take_in_data(files)))
    assert made.input_shape == (1, 4, 5)
    assert made.classes == ("0", "1", "2", "3")


def test_a_zip_of_folders_names_its_classes_and_scales_to_the_model(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(12):
            image = io.BytesIO()
            Image.new("RGB", (10, 8), (20 * number, 0, 255)).save(image, "PNG")
            archive.writestr(f"set/{('dog', 'cat')[number % 2]}/{number}.png", image.getvalue())
    card = take_in_data(written(tmp_path, "pets.zip", buffer.getvalue()), (3, 4, 5))
    made = load_own(keep_card(card))
    assert made.classes == ("cat", "dog")
    assert made.input_shape == (3, 4, 5)
    assert "12 of 12 images were scaled to 5 x 4" in card.notes[0]
    parts = (made.train, made.validation, made.test)
    pairs = {
        (int(x[0, 0, 0]), int(y))
        for part in parts
        for x, y in zip(part.inputs, part.labels, strict=True)
    }
    assert pairs == {(20 * number, 1 - number % 2) for number in range(12)}


def test_a_table_has_named_classes_and_a_sequence_takes_the_shape_of_the_model(tmp_path):
    lines = ["a,b,c,label", *(f"{i},{i + 0.5},{-i},{'up' if i % 2 else 'down'}" for i in range(20))]
    files = written(tmp_path, "t.csv", "\r\n".join(lines).encode("utf-8-sig"))
    made = load_own(keep_card(take_in_data(files, (3, 1))))
    assert made.classes == ("down", "up")
    assert made.input_shape == (3, 1)
    values = sorted(row.ravel().tolist() for row in made.train.inputs)
    assert all(b == a + 0.5 and c == -a for a, b, c in values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,label\n1,2,x\n3,oops,y\n", "Line 3 holds 'oops'"),
        ("a,b,label\n1,2,x\n3,y\n", "Line 3 has 2 columns"),
        ("1,2,0.5\n3,4,nan\n", "1 targets are NaN"),
    ],
)
def test_a_wrong_table_names_its_line(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        take_in_data(written(tmp_path, "t.csv", text.encode()))


def function_of_data():
    return X[:, None].astype(np.float32) / 255, Y, ("a", "b", "c", "d")


def test_a_function_makes_data_unless_a_server_did_not_name_it(monkeypatch):
    name = "python:tests.core.test_own_data:function_of_data"
    assert load_dataset(name).classes == ("a", "b", "c", "d")
    permit(["python:another:model"])
    with pytest.raises(DataError, match="only whoever starts the server"):
        load_own(name)
    permit([name])
    assert load_own(name).input_shape == (1, 4, 5)


def test_a_path_works_on_the_command_line(tmp_path):
    files = written(tmp_path, "d.npz", npz(x=X, y=Y))
    assert load_dataset(str(files["d.npz"])).title == "d.npz"
    with pytest.raises(DataError, match="no data file"):
        load_dataset(str(tmp_path / "none.npz"))


def test_a_wrong_normalisation_and_an_order_of_labels_are_suspected_and_right_ones_are_not():
    model, data = load_model("bundled:lenet_5"), load_dataset("fashion_mnist", source="bundled")
    right = baseline(model.module, data, n=300)
    assert right.suspicions == ()
    assert right.accuracy > 0.85
    assert right.chance == pytest.approx(0.1)
    turned = replace(data.validation, labels=(data.validation.labels + 1) % 10)
    (sentence,) = baseline(model.module, replace(data, validation=turned), n=300).suspicions
    assert "another order" in sentence


def test_a_model_that_always_says_the_same_is_no_better_than_guessing():
    class Same(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10).float()

    found = baseline(Same(), load_dataset("digits"), n=200)
    assert found.suspicions[-1].startswith("The model is no better than guessing")


def test_a_model_trained_on_plain_values_is_recognised():
    data = load_dataset("digits")
    plain = replace(data.validation, scale=16.0, mean=0.0, std=1.0)

    class Counts(nn.Module):
        """Right exactly where the sum of plain values is that of the sample."""

        def __init__(self):
            super().__init__()
            inputs, self.labels = plain.batch(slice(None))
            self.sums = inputs.sum((1, 2, 3))

        def forward(self, x):
            near = (x.sum((1, 2, 3))[:, None] - self.sums).abs().argmin(1)
            exact = (x.sum((1, 2, 3)) - self.sums[near]).abs() < 1e-3
            answers = torch.where(exact, self.labels[near], 0)
            return nn.functional.one_hot(answers, 10).float()

    wrong = replace(data.validation, mean=0.9, std=0.1)
    (sentence,) = baseline(Counts(), replace(data, validation=wrong), n=200).suspicions
    assert "normalisation is probably another: with values from 0 to 1" in sentence


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, 1, 2**64 - 100, 1], np.uint64), "1.845e\\+19"),
        (np.array([0.0, 1.0, 1e300, 1.0]), r"1e\+300"),
        (np.array([0, 1, -3, 1]), "hold -3"),
        (np.array([[0.5, 0.5], [2, -1], [1, 0], [0, 1]]), "one number a sample"),
    ],
)
def test_labels_that_number_no_class_are_refused(tmp_path, labels, says):
    with pytest.raises(DataError, match=says):
        take_in_data(written(tmp_path, "d.npz", npz(x=X[:4], y=labels)))


def test_samples_that_lie_the_other_way_are_refused_and_axes_of_one_are_not(tmp_path):
    files = written(tmp_path, "d.npz", npz(x=X, y=Y))
    with pytest.raises(DataError, match=r"\[4, 5\]; the model takes \[1, 5, 4\]"):
        take_in_data(files, (1, 5, 4))
    assert take_in_data(files, (4, 1, 5)).shape == (4, 1, 5)
    flat = written(tmp_path, "f.npz", npz(x=X.reshape(40, 20), y=Y))
    made = load_own(keep_card(take_in_data(flat, (1, 5, 4))))
    assert made.input_shape == (1, 5, 4)


def test_a_class_that_only_the_test_samples_have_is_a_class(tmp_path):
    names, more = np.array(list("ab") * 20), np.array(list("abca") * 10)
    data = npz(x_train=X, y_train=names, x_test=X, y_test=more)
    made = load_own(keep_card(take_in_data(written(tmp_path, "d.npz", data))))
    assert made.classes == ("a", "b", "c")
    assert made.test.labels.tolist() == [0, 1, 2, 0] * 10
    data = npz(x=X, y=more, class_names=np.array(["a", "b"]))
    with pytest.raises(DataError, match="'c' is not among the names"):
        take_in_data(written(tmp_path, "e.npz", data))


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("0,1,2,label", [f"{i},{i},{i + 1},{i % 2}" for i in range(9)]),
        ("0,1,2,species", [f"{i},{i},{i + 1},{'ab'[i % 2]}" for i in range(9)]),
        ("0.5,1,2,kind", [f"{i},{i},{i + 1},{i % 2}" for i in range(9)]),
        (None, [f"{i}.5,{'ab'[i % 2]}" for i in range(9)]),
        (None, [f"{i},{'yn'[i % 2]}" for i in range(9)]),
    ],
)
def test_the_first_line_of_a_table_is_a_head_only_where_it_names_columns(tmp_path, head, rows):
    text = "\n".join([head, *rows] if head else rows)
    card = take_in_data(written(tmp_path, "t.csv", text.encode()))
    assert card.sizes == {"all": 9}
    assert len(card.classes) == 2


def tiff(value, order):
    """Return a TIFF of 4 x 4 pixels of 16 bits."""
    data, mark = np.full((4, 4), value, f"{order}u2").tobytes(), b"MM" if order == ">" else b"II"
    tags = [(256, 4), (257, 4), (258, 16), (259, 1), (262, 1), (277, 1), (278, 4)]
    entries = [(tag, 4, 1, number) for tag, number in tags]
    entries += [(273, 4, 1, 8), (279, 4, 1, len(data))]
    listed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in sorted(entries))
    start = mark + struct.pack(f"{order}HI", 42, 8 + len(data))
    return start + data + struct.pack(f"{order}H", len(entries)) + listed + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_dark_and_bright_images_of_16_bits_stay_dark_and_bright(tmp_path, order):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(8):
            value = 200 if number % 2 else 51_400
            archive.writestr(f"{'ab'[number % 2]}/{number}.tif", tiff(value, order))
    card = take_in_data(written(tmp_path, "deep.zip", buffer.getvalue()))
    made = load_own(keep_card(card))
    values = torch.cat([part.inputs for part in (made.train, made.validation, made.test)])
    assert sorted({int(v) for v in values.flatten()}) == [0, 200]


def test_a_small_file_that_unpacks_to_much_is_refused_before_it_is_unpacked(tmp_path):
    zeros = np.zeros((40, 1, 400, 400), np.uint8)
    with pytest.raises(DataError, match="more than 200 times"):
        take_in_data(written(tmp_path, "d.npz", npz(x=zeros, y=Y)))
    images = gzip.compress(struct.pack(">IIII", 2051, 40, 400, 400) + zeros.tobytes())
    files = written(tmp_path, "train-images-idx3-ubyte.gz", images)
    labels = struct.pack(">II", 2049, 40) + Y.astype(np.uint8).tobytes()
    files |= written(tmp_path, "train-labels-idx1-ubyte.gz", gzip.compress(labels))
    with pytest.raises(DataError, match="more than 200 times"):
        take_in_data(files)


def test_too_large_files_of_data_are_refused_and_the_folder_is_private(tmp_path):
    files = written(tmp_path, "d.npz", npz(x=X, y=Y))
    with pytest.raises(DataError, match="a page takes 0 MB"):
        take_in_data(files, most_bytes=10)
    for place in (tmp_path / "state", tmp_path / "state" / "uploads"):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
    take_in_data(files)
    for place in (tmp_path / "state", tmp_path / "state" / "uploads"):
        assert place.stat().st_mode & 0o777 == 0o700


def test_the_statistics_are_those_of_finite_training_values_and_the_server_reads_none(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(own_data, "_tensors", None)  # the process that reads files counts them
    values = np.random.default_rng(0).normal(3, 2, (40, 50_000)).astype(np.float32)
    values[0, 0] = np.inf
    card = take_in_data(written(tmp_path, "d.npz", npz(x=values, y=Y)))
    finite = values[np.isfinite(values)].astype(np.float64)
    assert card.mean == pytest.approx(finite.mean(), abs=1e-6)
    assert card.std == pytest.approx(finite.std(ddof=1), abs=1e-6)


def kept():
    return {path.name for path in store.folder().iterdir()}


def test_data_and_weights_that_were_not_used_for_longest_leave_and_what_runs_name_stays(
    tmp_path, monkeypatch
):
    keys = []
    for number in range(4):
        card = take_in_data(written(tmp_path, "d.npz", npz(x=X + number, y=Y)))
        key = keep_card(card)
        keys.append((key, {card.values, f"card-{key.removeprefix('upload:')}.json"}))
        os.utime(store.folder() / card.values, (number, number))
        os.utime(store.folder() / f"card-{key.removeprefix('upload:')}.json", (number, number))
    state = {"fc.weight": torch.randn(3, 4)}
    weights = written(tmp_path, "w.safetensors", safetensors.torch.save(state))
    reference = store.take_in(weights).groups[0].reference
    recipe = Recipe(model="bundled:mlp_digits", data=keys[0][0])
    runs = Store()
    queued = runs.add(recipe, threads=1)
    runs.add(Recipe(model=f"weights:{reference}"), threads=1)
    whole = {f"{reference}.safetensors", f"{reference}.json"}
    assert kept() == whole.union(*(files for _, files in keys))
    load_own(keys[1][0])  # used: the next ones are older
    monkeypatch.setattr(store, "MOST_KEPT", sum(p.stat().st_size for p in store.folder().iterdir()))
    store.make_room(store.folder(), "")
    assert len(kept()) == 10
    monkeypatch.setattr(store, "MOST_KEPT", store.MOST_KEPT - 1)
    store.make_room(store.folder(), "")
    assert kept() == whole | keys[0][1] | keys[1][1] | keys[3][1]
    monkeypatch.setattr(store, "MOST_KEPT", 0)
    store.make_room(store.folder(), card.values.partition(".")[0])
    assert kept() == whole | keys[0][1] | keys[3][1]
    runs.ask_to_cancel(queued.id)
    store.make_room(store.folder(), "")
    assert kept() == whole


SAID = "The quick brown fox jumps over the lazy dog.\nEin Satz mit Umlauten: äöü.\n\n" * 120


@pytest.fixture(scope="module")
def tokeniser():
    made = pytest.importorskip("tokenizers").Tokenizer(
        pytest.importorskip("tokenizers.models").BPE()
    )
    made.pre_tokenizer = pytest.importorskip("tokenizers.pre_tokenizers").ByteLevel()
    made.decoder = pytest.importorskip("tokenizers.decoders").ByteLevel()
    trainers = pytest.importorskip("tokenizers.trainers")
    made.train_from_iterator([SAID], trainers.BpeTrainer(vocab_size=300, show_progress=False))
    return made


def beside(tmp_path, tokeniser, text=SAID):
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    tokeniser.save(str(tmp_path / "tokenizer.json"))
    return f"{tmp_path / 'book.txt'}@{tmp_path}"


def test_a_text_with_its_tokeniser_has_the_tokens_of_the_tokeniser(tmp_path, tokeniser):
    key = beside(tmp_path, tokeniser)
    data = load_dataset(key, input_shape=(32,))
    expected = tokeniser.encode(SAID, add_special_tokens=False).ids
    pieces = torch.cat([split.inputs for split in (data.train, data.validation, data.test)])
    nexts = torch.cat([split.labels for split in (data.train, data.validation, data.test)])
    assert pieces.flatten().tolist() == expected[: pieces.numel()]
    assert nexts.flatten().tolist() == expected[1 : pieces.numel() + 1]
    assert len(expected) - 1 - pieces.numel() < 32
    assert data.task.key == "language_modelling"
    card = take_in_data({p.name: p for p in tmp_path.iterdir() if p.is_file()}, (32,))
    assert SAID.startswith(card.beginnings[0].lstrip()[:40])
    assert f"{len(expected):,} tokens" in card.notes[0]
    assert load_own(keep_card(card)).train.inputs.equal(data.train.inputs)


@pytest.mark.parametrize(
    ("content", "says"), [("{}", "tokeniser cannot be read"), ("[" * 9, "tokeniser cannot be read")]
)
def test_a_damaged_tokeniser_is_refused_and_so_is_a_text_too_short(
    tmp_path, tokeniser, content, says
):
    key = beside(tmp_path, tokeniser, "Two words")
    with pytest.raises(DataError, match=r"tokens; pieces of 32 need at least 97"):
        load_dataset(key, input_shape=(32,))
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(key, input_shape=(32,))
    assert len(str(caught.value)) <= 200
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="There is no data file"):
        load_dataset(key, input_shape=(32,))
