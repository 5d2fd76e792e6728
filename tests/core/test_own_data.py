"""Data of one's own: formats, refusals, splits, and what a first look at a model says."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pruning_core.errors import DataError
from pruning_core.evaluation.baseline import baseline
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.loading.own_data import keep_card, load_own, take_in_data
from pruning_core.loading.permitted import permit
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
        ("1,2,0.5\n3,4,0.25\n", "no whole numbers"),
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
    from dataclasses import replace

    right = baseline(model.module, data, n=300)
    assert right.suspicions == ()
    assert right.accuracy > 0.85
    assert right.chance == pytest.approx(0.1)
    turned = replace(data.validation, labels=(data.validation.labels + 1) % 10)
    (sentence,) = baseline(model.module, replace(data, validation=turned), n=300).suspicions
    assert "another order" in sentence


def test_a_model_trained_on_plain_values_is_recognised():
    from dataclasses import replace

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
