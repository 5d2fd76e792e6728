"""Programs of torch.export: opened for any batch, pruned like their class, or refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pruning_core.errors import PruningError, UnsupportedModelError
from pruning_core.exporting.calling import quiet
from pruning_core.loading.model import load_model
from pruning_core.loading.names import identity_of
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(6 * 6 * 6, 12), nn.ReLU(), nn.Linear(12, 4))

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(x)))
        return self.fc(y.view(x.shape[0], -1))


def exported(path, n, dynamic):
    module = Net().eval()
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    with quiet():
        program = torch.export.export(module, (torch.randn(n, 1, 8, 8),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return module


@pytest.mark.parametrize(("n", "dynamic"), [(2, True), (1, False), (4, False)])
def test_a_program_computes_and_is_pruned_like_the_class_it_was_made_of(tmp_path, n, dynamic):
    module = exported(tmp_path / "net.pt2", n, dynamic)
    identity = identity_of(str(tmp_path / "net.pt2"))
    assert identity == f"program:{tmp_path / 'net.pt2'}"
    model = load_model(identity)
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(model.module(x), module(x), atol=1e-6)
    assert ("rewritten for any" in model.note) == (not dynamic)
    network, other = trace(model.module, model.inputs), trace(module, model.inputs)
    assert [(group.name, group.n_units) for group in network.groups] == [
        (group.name, group.n_units) for group in other.groups
    ]
    assert [(x.name, x.kind, x.macs) for x in network.layers if x.macs] == [
        (x.name, x.kind, x.macs) for x in other.layers if x.macs
    ]
    recipe = Recipe(model=identity, granularity="unit", target=Ratio(value=0.5))
    plan = resolve(recipe, network, score(model, network, recipe))
    after = preview(network, plan).after
    pruned = prune(model, network, plan).module
    plain = replace(model, module=module)
    plan = resolve(recipe, other, score(plain, other, recipe))
    wanted = preview(other, plan).after
    assert (wanted.params, wanted.nonzero, wanted.macs) == (after.params, after.nonzero, after.macs)
    with torch.no_grad():
        assert torch.allclose(pruned(x), prune(plain, other, plan).module(x), atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_program_for_one_sample_takes_several(tmp_path, kind):
    """Its operator would read beyond a state that has too few samples."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = kind(6, 8, batch_first=True)
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    module, path = Reads().eval(), tmp_path / "reads.pt2"
    with quiet():
        torch.export.save(torch.export.export(module, (torch.randn(1, 7, 6),)), path)
    x = torch.randn(4, 7, 6)
    with torch.no_grad():
        assert torch.allclose(load_model(f"program:{path}").module(x), module(x), atol=1e-6)


def test_a_path_is_enough_to_name_a_file_or_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.pt2", "net.pth", "net.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").touch()
    assert identity_of("net.pt2") == "program:net.pt2"
    assert identity_of("net.pth") == "weights:net.pth"
    assert (
        identity_of("net.safetensors@bundled:lenet_5") == "weights:net.safetensors@bundled:lenet_5"
    )
    assert identity_of("bert") == "transformers:./bert"
    for same in ("bundled:lenet_5", "mine:build", "python:mine.nets:build", "none.pt2"):
        assert identity_of(same) == same


def test_what_is_no_program_or_may_not_run_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"PK no program")
    with pytest.raises(UnsupportedModelError, match=r"'net\.pt2' cannot be opened as a program"):
        load_model(f"program:{path}")
    with pytest.raises(PruningError, match="There is no file"):
        load_model("program:none.pt2")
    with pytest.raises(UnsupportedModelError, match="run code when they are loaded"):
        load_model(f"program:{path}", allow_python=False)


def test_a_program_that_needs_its_batch_says_how_to_export_it(tmp_path):
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x).view(2, 2, 2).sum(dim=1)

    with quiet():
        program = torch.export.export(Sums(), (torch.randn(4, 3),))
        torch.export.save(program, tmp_path / "sums.pt2")
    with pytest.raises(UnsupportedModelError, match="exported for a batch of exactly 4") as caught:
        load_model(f"program:{tmp_path / 'sums.pt2'}")
    assert "dynamic_shapes" in str(caught.value)
