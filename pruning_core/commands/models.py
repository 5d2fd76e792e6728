"""``models``: which trained networks are bundled, and where others come from."""

import argparse

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.exporting.wording import count, percent, table

NAME = "models"
HELP = "list the bundled, already trained networks and the other sources of models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments of its own."""


def answer(arguments: argparse.Namespace) -> Answer:  # noqa: ARG001
    """Return the bundled models with their size and measured test accuracy."""
    from pruning_core.loading.model import PROVIDERS, bundled_models

    cards = bundled_models()
    document = {
        "version": ANSWER_VERSION,
        "models": [
            {
                "identity": card.identity,
                "title": card.title,
                "description": card.description,
                "data": card.data,
                "params": card.n_params,
                "accuracy": card.accuracy,
                "n": card.n_test,
            }
            for card in cards
        ],
        "sources": [
            {
                "usage": provider.usage,
                "title": provider.title,
                "runs_code": provider.runs_code,
                "installed": provider.installed,
            }
            for provider in PROVIDERS.values()
        ],
    }
    rows = [
        (
            card.identity,
            card.data,
            count(card.n_params),
            percent(card.accuracy),
            count(card.n_test),
        )
        for card in cards
    ]
    header = ("Model", "Data", "Parameters", "Test accuracy", "n")
    sources = [
        (provider.title, provider.usage, "yes" if provider.installed else "no")
        for provider in PROVIDERS.values()
    ]
    text = "\n\n".join(
        (
            table(header, rows, left=2),
            table(("Source of models", "Write", "Installed"), sources, left=3),
            "What is missing: python -m pip install -r requirements-models.txt",
        )
    )
    return Answer(document, text)
