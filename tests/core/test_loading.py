"""Models: the bundled seven, the caller's own code, weights files and their predicted sizes."""

import json
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from torch import nn

from pruning_core.errors import (
    DataError,
    ExportError,
    PruningError,
    UnknownNameError,
    UnsupportedModelError,
)
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.loading import card as cards
from pruning_core.loading.dataset import DATASETS, load_dataset
from pruning_core.loading.datasets import fashion_mnist
from pruning_core.loading.model import (
    ARCHITECTURES,
    PROVIDERS,
    bundled_models,
    initial_module,
    load_model,
)
from pruning_core.loading.weights import (
    TYPE_NAMES,
    digest,
    file_sha256,
    predicted_safetensors_bytes,
    read_weights,
    save_weights,
)

PARAMETERS = {
    "mlp_digits": 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10,
    "cnn_digits": 38_378,
    "gru_128": 3 * (128 * 28 + 128 * 128 + 128 + 128) + 128 * 10 + 10,
    "resnet_8": 77_754,
    "vit_tiny": 139_018,
    "lenet_300_100": 266_610,
    "lenet_5": 431_080,
}
LEAST_ACCURACY = {
    "mlp_digits": 0.972,
    "cnn_digits": 0.992,
    "gru_128": 0.890,
    "resnet_8": 0.915,
    "vit_tiny": 0.880,
    "lenet_300_100": 0.894,
    "lenet_5": 0.909,
}
ANOTHER_CPU = 2.5  # samples near a tie that other vector instructions may round the other way
CARDS = {card.name: card for card in bundled_models()}

every_model = pytest.mark.parametrize("name", list(PARAMETERS))


def test_the_seven_models_are_bundled_the_smallest_first_in_under_five_megabytes():
    assert list(CARDS) == list(PARAMETERS)
    assert set(ARCHITECTURES) == set(CARDS)
    assert sum(path.stat().st_size for path in cards.MODELS_FOLDER.iterdir()) < 5_000_000


@every_model
def test_a_bundled_model_is_what_its_card_says(name):
    card = CARDS[name]
    model = load_model(f"bundled:{name}")
    assert (model.identity, model.card, model.data) == (card.identity, card, card.data)
    assert card.data in DATASETS
    assert not model.module.training
    counted = sum(parameter.numel() for parameter in model.module.parameters())
    assert counted == card.n_params == PARAMETERS[name]
    assert model.weights_sha256 == digest(model.module.state_dict())
    (example,) = model.example_inputs
    assert example.shape == (1, *load_dataset(card.data, source="bundled").input_shape)
    assert (example.dtype, model.module(example).shape) == (torch.float32, (1, 10))
    assert card.accuracy >= LEAST_ACCURACY[name]
    assert card.n_test == {"digits": 500, "fashion_mnist": 10_000}[card.data]
    assert card.epochs == card.training.epochs == ARCHITECTURES[name].training.epochs


@every_model
def test_the_accuracy_on_the_card_is_found_again_on_the_bundled_test_split(name):
    card = CARDS[name]
    test = load_dataset(card.data, source="bundled").test
    measured = evaluate(load_model(card.identity).module, test)
    low, high = measured.accuracy_interval
    assert low <= card.accuracy <= high
    if card.n_test == measured.n:
        assert measured.accuracy == pytest.approx(card.accuracy, abs=ANOTHER_CPU / measured.n)


@pytest.mark.skipif(
    fashion_mnist.find_files(fashion_mnist.SYSTEM_FOLDER) is None,
    reason="the full Fashion-MNIST is not installed",
)
@pytest.mark.parametrize("name", ["lenet_300_100", "vit_tiny"])
def test_the_accuracy_on_the_card_is_exact_on_the_full_test_set(name):
    test = load_dataset("fashion_mnist", folder=fashion_mnist.SYSTEM_FOLDER).test
    measured = evaluate(load_model(f"bundled:{name}").module, test)
    assert measured.n == CARDS[name].n_test
    assert measured.accuracy == pytest.approx(CARDS[name].accuracy, abs=ANOTHER_CPU / measured.n)


@every_model
def test_the_initial_weights_of_a_bundled_model_can_be_rebuilt(name):
    card = CARDS[name]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    module = initial_module(card.architecture, card.seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert digest(module.state_dict()) == card.initial_digest
    assert digest(initial_module(card.architecture, card.seed + 1).state_dict()) != (
        card.initial_digest
    )
    assert not module.training


@every_model
def test_models_take_any_batch_size_and_treat_samples_one_by_one(name):
    model = load_model(f"bundled:{name}")
    inputs = torch.randn(5, *model.example_inputs[0].shape[1:])
    one_by_one = torch.cat([model.module(sample[None]) for sample in inputs])
    assert torch.allclose(model.module(inputs), one_by_one, atol=1e-5)


def test_each_call_loads_a_module_of_its_own_and_the_same_example():
    first, second = load_model("bundled:mlp_digits"), load_model("bundled:mlp_digits")
    assert first.module is not second.module
    assert first.weights_sha256 == second.weights_sha256
    assert torch.equal(first.example_inputs[0], second.example_inputs[0])


@pytest.mark.parametrize(
    ("identity", "error", "words"),
    [
        ("bundled:lenet5", UnknownNameError, "Did you mean 'lenet_5'"),
        ("bundled:../card", UnknownNameError, "No bundled model is called"),
        ("bundle:lenet_5", UnknownNameError, "Did you mean 'bundled'"),
        ("lenet_5", UnsupportedModelError, "names no model. Write one of: bundled:NAME, "),
        ("", UnsupportedModelError, "names no model"),
        ("bundled:", UnsupportedModelError, "names no model"),
        ("x" * 5_000, UnsupportedModelError, r"'x{57}\.\.\.' names no model"),
    ],
)
def test_names_that_are_no_model_are_refused(identity, error, words):
    with pytest.raises(error, match=words):
        load_model(identity)


def test_another_input_shape_than_that_of_a_bundled_model_is_refused():
    assert load_model("bundled:mlp_digits", input_shape=(1, 8, 8)).data == "digits"
    with pytest.raises(UnsupportedModelError, match=r"shape \(1, 8, 8\), not \(1, 28, 28\)"):
        load_model("bundled:mlp_digits", input_shape=(1, 28, 28))


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """Let ``bundled:`` read a copy of the digits MLP that a test may damage."""
    for path in (cards.card_path("mlp_digits"), cards.weights_path("mlp_digits")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(cards, "MODELS_FOLDER", tmp_path)
    return tmp_path


def test_weights_that_are_not_those_of_the_card_are_refused(own_models):
    path = own_models / "mlp_digits.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="are not those of their card"):
        load_model("bundled:mlp_digits")
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_model("bundled:mlp_digits")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.pop("seed"), "1 fields are wrong"),
        (lambda card: card.update(accuracy=1.5), "1 fields are wrong"),
        (lambda card: card.update(sha256="no"), "1 fields are wrong"),
        (lambda card: card.update(other=1, n_test="many"), "2 fields are wrong"),
    ],
)
def test_a_damaged_card_is_refused(own_models, change, words):
    path = own_models / "mlp_digits.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        load_model("bundled:mlp_digits")


FACTORIES = """
import sys
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout()).train()

def paired():
    return nn.Linear(4, 3), torch.ones(6, 4)

def tokens():
    return nn.Embedding(5, 3), (torch.arange(8).reshape(2, 4),)

def number():
    return 7

def nothing():
    pass

def odd_example():
    return nn.Linear(4, 3), "four"

def failing():
    raise ValueError("the weights\\nare missing")

def leaving():
    sys.exit(3)

class Nested:
    @staticmethod
    def build():
        return nn.Linear(2, 2), torch.zeros(1, 2)

constant = 5
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "own_factories.py").write_text(FACTORIES, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("def oops(:\n", encoding="utf-8")
    (tmp_path / "own_importing.py").write_text("import not_there_at_all\n", encoding="utf-8")
    (tmp_path / "own_leaving.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("factories")
def test_the_callers_own_factory_makes_a_model():
    model = load_model("python:own_factories:plain", input_shape=(4,))
    assert not any(part.training for part in model.module.modules())
    assert (model.data, model.card) == (None, None)
    assert model.module(*model.example_inputs).shape == (1, 3)
    again = load_model("python:own_factories:plain", input_shape=(4,))
    assert model.weights_sha256 == again.weights_sha256


@pytest.mark.usefixtures("factories")
def test_a_factory_may_give_its_example_inputs_of_which_one_sample_is_taken():
    assert load_model("python:own_factories:paired").example_inputs[0].tolist() == [[1.0] * 4]
    assert load_model("python:own_factories:tokens").example_inputs[0].tolist() == [[0, 1, 2, 3]]
    assert load_model("python:own_factories:Nested.build").module.in_features == 2
    assert load_model("python:own_factories:paired", input_shape=(4,)).module.in_features == 4


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_factories", "names no factory. Write python:package.module:factory"),
        ("own_factories:", "names no factory"),
        ("own factories:plain", "names no factory"),
        ("..:plain", "names no factory"),
        ("own_factories:plain()", "names no factory"),
        ("own_nowhere:plain", "no module is called 'own_nowhere'. Name the folder"),
        ("own_factories.deeper:plain", "no module is called 'own_factories.deeper'"),
        ("own_importing:plain", "no module is called 'not_there_at_all'"),
        ("own_broken:oops", "importing 'own_broken' failed with SyntaxError"),
        ("own_leaving:oops", "importing 'own_leaving' failed with SystemExit"),
        ("own_factories:plian", "the module 'own_factories' has no 'plian'"),
        ("own_factories:constant", "'constant' is an int, not a function"),
        ("own_factories:number", "returned an int; it must return a torch.nn.Module"),
        ("own_factories:nothing", "returned None; it must return"),
        ("own_factories:failing", "failed with ValueError: the weights are missing."),
        ("own_factories:leaving", "failed with SystemExit: 3"),
        ("own_factories:odd_example", "are a str; they must be a tensor"),
        ("own_factories:plain", "does not say what its inputs look like. Give an input shape"),
    ],
)
def test_what_is_wrong_with_the_callers_own_code_is_said_in_a_sentence(name, words):
    with pytest.raises(UnsupportedModelError, match=words) as caught:
        load_model(f"python:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize("shape", [(), (0, 4), (-1,)])
def test_an_impossible_input_shape_is_refused(shape):
    with pytest.raises(UnsupportedModelError, match="is no shape of one sample"):
        load_model("python:own_factories:plain", input_shape=shape)


@pytest.mark.usefixtures("factories")
def test_an_input_shape_that_contradicts_the_factory_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"has the shape \(4,\), but .* \(5,\)"):
        load_model("python:own_factories:paired", input_shape=(5,))


@pytest.mark.usefixtures("factories")
def test_where_code_must_not_run_python_models_are_refused_without_importing_them():
    with pytest.raises(UnsupportedModelError, match="only the command line and Python load them"):
        load_model("python:own_factories:plain", input_shape=(4,), allow_python=False)
    assert "own_factories" not in sys.modules


def test_every_provider_says_how_its_identities_are_written():
    for key, provider in PROVIDERS.items():
        assert provider.key == key
        assert provider.usage.startswith(f"{key}:")
        with pytest.raises(PruningError):
            load_model(f"{key}:no such thing")


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(lambda name: name != "__metadata__")
tensors = st.tuples(
    st.lists(st.integers(0, 12), max_size=4).map(tuple), st.sampled_from(list(TYPE_NAMES))
)


@given(layout=st.dictionaries(names, tensors, max_size=12))
@settings(max_examples=150, deadline=None)
def test_the_size_of_a_weights_file_is_predicted_to_the_byte(tmp_path_factory, layout):
    state = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in layout.items()}
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    save_weights(state, path)
    size = predicted_safetensors_bytes(layout)
    assert path.stat().st_size == size == len(safetensors_bytes(state))


@every_model
def test_the_size_of_every_bundled_file_is_predicted_to_the_byte(name):
    state = load_model(f"bundled:{name}").module.state_dict()
    layout = {key: (tuple(value.shape), value.dtype) for key, value in state.items()}
    assert predicted_safetensors_bytes(layout) == cards.weights_path(name).stat().st_size


def test_an_element_type_that_the_format_lacks_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"'w' has the element type torch.complex128"):
        predicted_safetensors_bytes({"w": ((2,), torch.complex128)})


def test_weights_come_back_bit_for_bit_and_shared_memory_is_written_under_each_name(tmp_path):
    shared = torch.randn(3, 4)
    state = {"a": shared, "b": shared, "c": shared.T, "d": torch.tensor(7)}
    path = tmp_path / "w.safetensors"
    save_weights(state, path)
    back = read_weights(path)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert digest(back) == digest(state)
    assert [item.name for item in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(ExportError, match="cannot be written to"):
        save_weights({"a": torch.zeros(1)}, tmp_path / "none" / "w.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match="cannot be written to"):
        save_weights({"a": torch.zeros(1)}, tmp_path / "folder")
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("content", [b"", b"\x00" * 4, b"\xff" * 64])
def test_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        file_sha256(tmp_path / "none")


def test_the_digest_sees_names_types_shapes_and_values_but_not_the_order():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0000001])},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(2)},
        {"a": -torch.zeros(2, 3), "b": torch.ones(2)},
    ]
    assert len({digest(state) for state in (base, *others)}) == 6
    assert digest(dict(reversed(base.items()))) == digest(base)


def test_no_forward_pass_holds_a_size_that_pruning_can_change():
    vit = initial_module("vit_tiny", 0)
    attention = vit.blocks[0].attention
    keep = torch.arange(192).reshape(3, 4, 16)[:, 1:].reshape(-1)  # the first head leaves
    attention.qkv.weight = nn.Parameter(attention.qkv.weight[keep])
    attention.qkv.bias = nn.Parameter(attention.qkv.bias[keep])
    attention.proj.weight = nn.Parameter(attention.proj.weight[:, 16:])
    assert vit(torch.randn(2, 1, 28, 28)).shape == (2, 10)
