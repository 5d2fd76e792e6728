"""Models of other packages: what is said without them, and what they give where they are there."""

import json
import socket
import sys

import pytest
import torch

from pruning_core.errors import DataError, PruningError, UnknownNameError, UnsupportedModelError
from pruning_core.loading.model import PROVIDERS, load_model
from pruning_core.loading.weights import save_weights
from pruning_core.tracing.trace import trace

PACKAGES = ("torchvision", "timm", "transformers")


@pytest.fixture
def no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.parametrize("package", PACKAGES)
def test_without_the_package_the_sentence_says_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # import then fails
    with pytest.raises(UnsupportedModelError, match=r"requirements-models\.txt") as caught:
        load_model(f"{package}:resnet18")
    assert package in str(caught.value)


@pytest.mark.parametrize("package", PACKAGES)
def test_names_alone_cannot_run_code(package):
    assert not PROVIDERS[package].runs_code


def test_a_package_that_does_not_fit_is_named(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UnsupportedModelError, match=r"cannot be imported \(operator nms does not"):
        load_model("timm:resnet18")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("identity", "shapes"),
    [
        ("torchvision:resnet18", [(3, 224, 224)]),
        ("torchvision:lraspp_mobilenet_v3_large", [(3, 520, 520)]),
        ("torchvision:r3d_18", [(3, 16, 112, 112)]),
        ("torchvision:raft_small", [(3, 128, 128), (3, 128, 128)]),
        ("timm:vit_tiny_patch16_224", [(3, 224, 224)]),
        ("transformers:electra", [(16,)]),
        ("transformers:t5", [(16,), (8,)]),
        ("transformers:segformer", [(3, 224, 224)]),
        ("transformers:llama", [(16,)]),
        ("transformers:mixtral", [(16,)]),
    ],
)
def test_inputs_come_from_the_metadata_and_weights_are_the_same_each_time(identity, shapes):
    pytest.importorskip(identity.partition(":")[0])
    model, again = load_model(identity, allow_python=False), load_model(identity)
    assert [tuple(x.shape[1:]) for x in model.example_inputs] == shapes
    assert model.weights_sha256 == again.weights_sha256
    assert "weights are random (seed 0)" in model.note
    with torch.no_grad():
        model.module(*model.inputs.args, **model.inputs.kwargs)


def test_a_type_of_billions_of_weights_is_built_small_and_keeps_grouped_query_attention():
    pytest.importorskip("transformers")
    model = load_model("transformers:qwen2")
    config = model.module.config
    assert "small configuration" in model.note
    assert sum(parameter.numel() for parameter in model.module.parameters()) < 10_000_000
    dense = type(config)()
    ratio = dense.num_attention_heads // dense.num_key_value_heads
    assert config.num_attention_heads // config.num_key_value_heads == ratio


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("torchvision:resnet", "Did you mean 'resnet50'"),
        ("timm:vit_tiny_patch16", "Did you mean 'vit_tiny_patch16_"),
        ("timm:hf-hub:timm/resnet18", "No timm model is called"),
        ("transformers:brt", "Did you mean 'bert'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(identity, words):
    pytest.importorskip(identity.partition(":")[0])
    with pytest.raises(UnknownNameError, match=words):
        load_model(identity)


def test_another_image_size_is_passed_on_to_timm():
    pytest.importorskip("timm")
    model = load_model("timm:vit_tiny_patch16_224", input_shape=(1, 64, 64))
    assert model.module(*model.example_inputs).shape == (1, 1000)
    with pytest.raises(UnsupportedModelError, match="Give channels, height and width"):
        load_model("timm:resnet18", input_shape=(3, 8))


def small_vit(folder):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.ViTConfig(**sizes, intermediate_size=16, image_size=32)
    module = transformers.ViTForImageClassification(config)
    module.save_pretrained(folder)
    return module


@pytest.mark.usefixtures("no_network")
def test_a_folder_gives_its_own_weights(tmp_path):
    module = small_vit(tmp_path)
    model = load_model(f"transformers:{tmp_path}", allow_python=False)
    assert type(model.module) is type(module)
    assert model.note == ""
    for name, tensor in module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], tensor), name
    assert trace(model.module, model.inputs).groups


def test_a_folder_without_safetensors_or_with_foreign_code_is_refused(tmp_path):
    small_vit(tmp_path)
    config = tmp_path / "config.json"
    written = json.loads(config.read_text())
    config.write_text(json.dumps(written | {"architectures": ["Evil"], "model_type": "evil"}))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsupportedModelError, match="names no class of transformers"):
        load_model(f"transformers:{tmp_path}")
    config.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_model(f"transformers:{tmp_path}")
    config.write_text(json.dumps(written))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="no safetensors weights"):
        load_model(f"transformers:{tmp_path}")
    save_weights({"wrong": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(PruningError):
        load_model(f"transformers:{tmp_path}")
    with pytest.raises(DataError, match="cannot be read"):
        load_model(f"transformers:{tmp_path}/none")
