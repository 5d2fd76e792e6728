"""Train the bundled models on the full data and write their weights and cards.

Usage: python -m scripts.train_bundled [--only NAME] [--epochs N]
"""

import argparse

import torch
from torch import nn

from pruning_core.errors import PruningError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.loading.architecture import Architecture, build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.card import MODELS_FOLDER, ModelCard, weights_path, write_card
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.provider import example_input
from pruning_core.loading.split import Dataset
from pruning_core.loading.weights import digest, file_sha256, save_weights
from pruning_core.planning.recipe import Tuning
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import EpochResult, FineTuner

SEED = 0


def train(architecture: Architecture, data: Dataset, settings: Tuning) -> nn.Module:
    """Return the network after the last epoch of ``settings``; nothing is chosen on any split."""
    module = build_initial(architecture, SEED)
    for step in FineTuner(module, data, settings, seed=SEED).run():
        if isinstance(step, EpochResult):
            print(
                f"{architecture.key} {step.epoch}/{step.n_epochs}: loss {step.loss:.4f}, "
                f"validation {100 * step.validation_accuracy:.2f} %, {step.seconds:.0f} s",
                flush=True,
            )
    return module


def write(architecture: Architecture, data: Dataset, settings: Tuning, module: nn.Module) -> None:
    """Write the weights of a trained network and the card that says how good it is."""
    path = weights_path(architecture.key)
    save_weights(module.state_dict(), path)
    test, validation = evaluate(module, data.test), evaluate(module, data.validation)
    write_card(
        ModelCard(
            name=architecture.key,
            title=architecture.title,
            description=architecture.description,
            architecture=architecture.key,
            data=data.key,
            data_title=data.title,
            data_source=data.source,
            n_train=len(data.train),
            training=settings,
            seed=SEED,
            epochs=settings.epochs,
            accuracy=test.accuracy,
            n_test=test.n,
            validation_accuracy=validation.accuracy,
            n_validation=validation.n,
            n_params=sum(parameter.numel() for parameter in module.parameters()),
            first_layer=trace(module, example_input(architecture.input_shape)).weights[0],
            sha256=file_sha256(path),
            initial_digest=digest(build_initial(architecture, SEED).state_dict()),
            trained_with=f"torch {torch.__version__}",
        )
    )
    print(
        f"{architecture.key}: test {100 * test.accuracy:.2f} % (n = {test.n:,}), "
        f"{path.stat().st_size:,} bytes",
        flush=True,
    )


def main() -> None:
    """Train the models that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="train only this model")
    parser.add_argument("--epochs", type=int, help="instead of those of the architecture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    MODELS_FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        for name in arguments.only or ARCHITECTURES:
            architecture = ARCHITECTURES[name]
            settings = architecture.training
            if arguments.epochs:
                settings = settings.model_copy(update={"epochs": arguments.epochs})
            data = load_dataset(architecture.data)
            if data.source != "full set":
                raise SystemExit(
                    f"{data.title}: the full set is needed, see scripts/make_subset.py."
                )
            write(architecture, data, settings, train(architecture, data, settings))
    except PruningError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
