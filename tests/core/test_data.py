"""Data sets: splits, leakage, the IDX reader and where the full set is looked for."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from pruning_core.errors import DataError, UnknownNameError
from pruning_core.loading.archive import ASSETS, read_archive
from pruning_core.loading.dataset import DATASETS, Split, load_dataset
from pruning_core.loading.datasets import fashion_mnist
from pruning_core.loading.idx import read_idx
from pruning_core.loading.partition import balanced_order, divide

SPLITS = ("train", "validation", "test")

has_full_set = pytest.mark.skipif(
    fashion_mnist.find_files(fashion_mnist.SYSTEM_FOLDER) is None,
    reason="the full Fashion-MNIST is not installed",
)


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def test_the_bundled_data_are_at_most_eight_megabytes_and_carry_their_licences():
    assert sum(path.stat().st_size for path in ASSETS.glob("*.npz")) <= 8_000_000
    notice = (ASSETS / "NOTICE.txt").read_text(encoding="utf-8")
    for words in ("Zalando SE", "THE SOFTWARE IS PROVIDED", "Alpaydin", "Attribution 4.0"):
        assert words in notice


@pytest.mark.parametrize("key", list(DATASETS))
def test_every_data_set_keeps_the_promises_of_its_type(key):
    data = load_dataset(key, source="bundled")
    assert (data.key, data.title) == (key, DATASETS[key].title)
    for split in (data.train, data.validation, data.test, data.calibration):
        inputs, labels = split.batch(slice(0, 7))
        assert inputs.shape == (7, *data.input_shape)
        assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert split.inputs.shape == (len(split), *data.input_shape)
        assert torch.unique(split.labels).tolist() == list(range(len(data.classes)))
    scaled = data.train.inputs.double() / data.train.scale
    assert 0 <= scaled.min() <= scaled.max() <= 1
    assert scaled.mean().item() == pytest.approx(data.train.mean, abs=0.01)
    assert scaled.std().item() == pytest.approx(data.train.std, abs=0.01)


@pytest.mark.parametrize(
    ("key", "sizes"), [("fashion_mnist", (9_000, 3_000, 5_000)), ("digits", (1_097, 200, 500))]
)
def test_the_bundled_splits_have_the_sizes_written_down_and_are_balanced(key, sizes):
    data = load_dataset(key, source="bundled")
    assert tuple(len(getattr(data, name)) for name in SPLITS) == sizes
    for name in SPLITS:
        split = getattr(data, name)
        counts = torch.bincount(split.labels, minlength=10).float()
        assert (counts / len(split) - 0.1).abs().max() <= 0.011


def test_the_digits_are_those_of_scikit_learn_each_exactly_once():
    data = load_dataset("digits")
    splits = [getattr(data, name) for name in SPLITS]
    ours = np.concatenate(
        [
            torch.cat([split.inputs.flatten(1), split.labels[:, None].byte()], dim=1).numpy()
            for split in splits
        ]
    )
    values, labels = load_digits(return_X_y=True)
    theirs = np.concatenate([values, labels[:, None]], axis=1).astype(np.uint8)
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


@has_full_set
def test_the_full_set_is_used_where_it_is_installed_and_the_subset_is_the_start_of_each_split():
    full = load_dataset("fashion_mnist", folder=fashion_mnist.SYSTEM_FOLDER)
    subset = load_dataset("fashion_mnist", source="bundled")
    assert (full.source, subset.source) == ("full set", "bundled subset")
    assert [len(getattr(full, name)) for name in SPLITS] == [55_000, 5_000, 10_000]
    for name in SPLITS:
        whole, part = getattr(full, name), getattr(subset, name)
        assert torch.equal(whole.inputs[: len(part)], part.inputs)
        assert torch.equal(whole.labels[: len(part)], part.labels)
    for data in (full, subset):
        assert torch.equal(data.calibration.inputs, subset.train.inputs[:2_000])


@has_full_set
def test_train_and_validation_together_are_the_original_training_images_each_once():
    folder = fashion_mnist.SYSTEM_FOLDER
    original = read_idx(folder / "train-images-idx3-ubyte.gz", 3)
    splits = fashion_mnist.read_full(folder)
    ours = np.concatenate([splits["train"][0], splits["validation"][0]])
    assert sorted(map(bytes, ours)) == sorted(map(bytes, original))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_splits_share_no_example_and_every_prefix_is_balanced(labels, seed, data):
    labels = np.array(labels)
    first = data.draw(st.integers(0, len(labels)))
    second = data.draw(st.integers(0, len(labels) - first))
    splits = divide(labels, (first, second), seed)
    assert [len(split) for split in splits] == [first, second]
    chosen = np.concatenate(splits)
    assert len(set(chosen.tolist())) == len(chosen)
    available, used = np.bincount(labels, minlength=5), np.bincount(labels[splits[0]], minlength=5)
    open_classes = used[used < available]
    assert open_classes.size == 0 or used.max() - open_classes.min() <= 1


def test_an_order_depends_on_nothing_but_labels_and_seed():
    labels = np.arange(50) % 5
    ranked = sorted(range(50), key=lambda index: hashlib.sha256(f"7/{index}".encode()).digest())
    by_class = [[index for index in ranked if labels[index] == label] for label in range(5)]
    order = balanced_order(labels, 7).tolist()
    for turn in range(10):
        assert set(order[5 * turn : 5 * turn + 5]) == {members[turn] for members in by_class}
    assert order == balanced_order(labels, 7).tolist() != balanced_order(labels, 8).tolist()


def test_more_examples_than_there_are_cannot_be_divided():
    with pytest.raises(ValueError, match="3 examples cannot give splits of 4"):
        divide(np.zeros(3, int), (2, 2), 0)


def test_a_batch_is_scaled_and_normalised_and_the_stored_values_stay():
    split = Split(
        torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.tensor([3]), 255.0, 0.2, 0.5
    )
    inputs, labels = split.batch(torch.tensor([0]))
    assert torch.allclose(inputs, torch.tensor([[-0.4, 0.0, 1.6]]))
    assert labels.tolist() == [3]
    assert split.inputs.tolist() == [[0, 51, 255]]
    stored = torch.ones(2, 2)
    Split(stored, torch.zeros(2, dtype=torch.int64), 2.0, 0.0, 1.0).batch(slice(0, 2))
    assert stored.tolist() == [[1, 1], [1, 1]]


def test_the_first_samples_of_a_split_are_the_first():
    split = load_dataset("digits").test
    assert split.first(None) is split
    assert torch.equal(split.first(5).labels, split.labels[:5])
    assert len(split.first(10**6)) == 500


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_dataset("digit")


def test_a_set_is_read_once():
    assert load_dataset("digits") is load_dataset("digits")


def test_a_folder_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    with pytest.raises(DataError, match=r"does not exist\. Name an existing folder"):
        load_dataset("fashion_mnist", folder=gone)
    monkeypatch.setenv("PRUNING_STUDIO_DATA", str(gone))
    with pytest.raises(DataError, match="does not exist"):
        load_dataset("fashion_mnist")
    assert load_dataset("fashion_mnist", source="bundled").source == "bundled subset"


def test_a_folder_without_the_files_falls_back_to_the_bundled_subset(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "nothing")
    monkeypatch.setenv("PRUNING_STUDIO_DATA", str(tmp_path))
    assert load_dataset("fashion_mnist").source == "bundled subset"


@pytest.mark.parametrize("below", ["", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_files_are_found_in_the_usual_places_plain_or_gzipped(tmp_path, below, suffix):
    place = tmp_path / below
    place.mkdir(parents=True, exist_ok=True)
    for name in (*fashion_mnist.TRAINING, *fashion_mnist.TEST):
        assert fashion_mnist.find_files(tmp_path) is None
        (place / f"{name}{suffix}").touch()
    assert fashion_mnist.find_files(tmp_path) == place


def test_files_of_another_size_are_refused(tmp_path):
    for name in (*fashion_mnist.TRAINING, *fashion_mnist.TEST):
        values = np.zeros((4, 28, 28) if "images" in name else 4, np.uint8)
        (tmp_path / name).write_bytes(idx_bytes(values))
    with pytest.raises(DataError, match=r"holds images \(4, 28, 28\) and labels \(4,\)"):
        load_dataset("fashion_mnist", folder=tmp_path)


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    gzipped=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_what_was_written_as_idx_is_read_back(tmp_path_factory, shape, seed, gzipped):
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if gzipped else "a")
    raw = idx_bytes(values)
    path.write_bytes(gzip.compress(raw) if gzipped else raw)
    assert np.array_equal(read_idx(path, len(shape)), values)


WHOLE = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
ZIPPED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a", WHOLE[:-1], "announces 12 values but holds only 11"),
        ("a", WHOLE + b"x", "announces 12 values but holds more"),
        ("a", WHOLE[:10], "is no IDX file of unsigned bytes with 3 axes"),
        ("a", b"", "begins with nothing"),
        ("a", b"\x00\x00\x0d" + WHOLE[3:], "begins with 00000d03"),
        ("a", WHOLE[:4] + struct.pack(">3I", *[2**32 - 1] * 3), "announces 79,228,162,458,92"),
        ("a", WHOLE[:4] + struct.pack(">3I", 0, 28, 28), "announces 0 values"),
        ("a.gz", WHOLE, "cannot be read: Not a gzipped file"),
        ("a.gz", ZIPPED[:-9], "cannot be read: Compressed file ended"),
        ("a.gz", ZIPPED[:10] + b"\xff" * 20, "cannot be read: Error -3"),
    ],
)
def test_damaged_idx_files_are_refused_with_the_reason(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(path, 3)


def test_no_more_is_unpacked_than_the_header_announces(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(WHOLE)
        for _ in range(64):
            file.write(bytes(1_000_000))
    with pytest.raises(DataError, match="holds more"):
        read_idx(path, 3)


def test_a_damaged_bundled_file_is_refused(tmp_path):
    path = tmp_path / "digits.npz"
    for content in (b"", b"no archive", (ASSETS / "digits.npz").read_bytes()[:20_000]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"'digits\.npz' cannot be read"):
            read_archive(path, scale=16.0, mean=0.0, std=1.0)
    with pytest.raises(DataError, match="cannot be read"):
        read_archive(Path(tmp_path / "none.npz"), scale=16.0, mean=0.0, std=1.0)


def test_pickled_objects_in_a_data_file_are_never_read(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, train_inputs=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        read_archive(path, scale=16.0, mean=0.0, std=1.0)
