"""Dense networks of other seeds, trained once and kept in a cache folder, as model factories."""

import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import initial_module
from pruning_core.loading.weights import read_weights, save_weights
from pruning_core.tuning.finetune import finetune

CACHE = Path(os.environ.get("PRUNING_STUDIO_BENCH_CACHE", ".state/benchmarks"))


def trained(architecture: str, seed: int) -> nn.Module:
    """Return ``architecture`` trained from ``seed`` with its own settings on the full set."""
    module = initial_module(architecture, seed)
    path = CACHE / f"{architecture}_seed_{seed}.safetensors"
    if not path.is_file():
        entry = ARCHITECTURES[architecture]
        for _ in finetune(module, load_dataset(entry.data), entry.training, seed=seed):
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(module.state_dict(), path)
    module.load_state_dict(read_weights(path))
    return module.eval()


def _factory(architecture: str, seed: int) -> Callable[[], tuple[nn.Module, Tensor]]:
    def build() -> tuple[nn.Module, Tensor]:
        data = load_dataset(ARCHITECTURES[architecture].data)
        return trained(architecture, seed), data.calibration.batch(slice(0, 1))[0]

    return build


lenet_300_100_seed_1 = _factory("lenet_300_100", 1)
lenet_300_100_seed_2 = _factory("lenet_300_100", 2)
lenet_5_seed_1 = _factory("lenet_5", 1)
lenet_5_seed_2 = _factory("lenet_5", 2)
resnet_8_seed_1 = _factory("resnet_8", 1)
resnet_8_seed_2 = _factory("resnet_8", 2)
