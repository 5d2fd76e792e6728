"""``inspect MODEL``: what a network consists of, what it costs and what can leave together."""

import argparse
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import MODEL_HELP, add_input_shape
from pruning_core.exporting.wording import count, size, table
from pruning_core.loading.names import identity_of

if TYPE_CHECKING:
    from pruning_core.loading.model import LoadedModel
    from pruning_core.tracing.network import Group, Layer, Network

NAME = "inspect"
HELP = "show layers, parameters, MACs, bytes and coupled groups of a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and the input shape."""
    parser.add_argument("model", metavar="MODEL", type=identity_of, help=MODEL_HELP)
    add_input_shape(parser)
    parser.add_argument(
        "--why", metavar="LAYER", help="say what couples each tensor of a layer, or holds it"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Trace the model and return what was found."""
    from pruning_core.loading.model import load_model
    from pruning_core.tracing.trace import trace

    model = load_model(arguments.model, input_shape=arguments.input_shape)
    network = trace(model.module, model.inputs)
    if arguments.why is not None:
        return _why(network, arguments.why)
    document = _document(model, network)
    return Answer(document, _text(document, network))


def _why(network: "Network", layer: str) -> Answer:
    """Return, for every axis of the layer's parameters, the group it leaves with and the path."""
    from pruning_core.errors import UnknownNameError
    from pruning_core.tracing.coupling import coupling_path, lock_path

    names = {layer_.name: layer_.parameters for layer_ in network.layers}
    if layer not in names:
        raise UnknownNameError("layer", layer, names)
    found: list[dict[str, Any]] = []
    for name in names[layer]:
        for axis in range(network.tensor(name).ndim):
            paths = {
                group.name: coupling_path(network, group, name, axis)
                for group in network.groups
                if any((item.parameter, item.axis) == (name, axis) for item in group.members)
            }
            for group, path in (paths or {"": lock_path(network, name, axis)}).items():
                because = [step.sentence for step in path]
                tensor = {"parameter": name, "axis": axis}
                found.append({**tensor, "group": group or None, "because": because})
    rows = [
        (
            item["parameter"],
            str(item["axis"]),
            item["group"] or "(stays)",
            ", then ".join(item["because"]) or "it makes the units",
        )
        for item in found
    ]
    header = ("Parameter", "Axis", "Leaves with", "Because")
    return Answer({"version": ANSWER_VERSION, "why": found}, table(header, rows, left=4))


def _document(model: "LoadedModel", network: "Network") -> dict[str, Any]:
    layers = network.layers
    return {
        "version": ANSWER_VERSION,
        "model": model.identity,
        "title": model.card.title if model.card else model.identity,
        "data": model.data,
        "model_sha256": model.weights_sha256,
        "note": model.note,
        "input_shapes": [list(example.shape[1:]) for example in model.example_inputs],
        "params": sum(layer.n_params for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "bytes": _n_bytes(network),
        "layers": [_layer(layer) for layer in layers],
        "groups": [_group(group) for group in network.groups],
        "weights": list(network.weights),
        "unknown_operators": dict(network.unknown_operators),
    }


def _n_bytes(network: "Network") -> int:
    """Return the bytes of the plain weights file, as the preview counts them."""
    import numpy as np

    everything = np.ones(network.cost.n_units, dtype=np.bool_)
    return int(network.cost.query(everything).n_bytes[0])


def _layer(layer: "Layer") -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "weight_shape": None if layer.weight_shape is None else list(layer.weight_shape),
        "output_shape": None if layer.output_shape is None else list(layer.output_shape),
        "params": layer.n_params,
        "macs": layer.macs,
        "bytes": layer.n_bytes,
        "groups": list(layer.groups),
    }


def _group(group: "Group") -> dict[str, Any]:
    return {
        "name": group.name,
        "kind": group.kind,
        "n_units": group.n_units,
        "layers": list(group.layers),
        "members": [
            {"parameter": member.parameter, "axis": member.axis, "per_unit": member.per_unit}
            for member in group.members
        ],
        "changes_normalisation": group.changes_normalisation,
        "reasons": list(group.reasons),
    }


def _text(document: dict[str, Any], network: "Network") -> str:
    parts = [
        f"{document['title']}: {count(document['params'])} parameters, "
        f"{count(document['macs'])} MACs for one sample, {size(document['bytes'])} as safetensors"
        + (f"\n{document['note']}" if document["note"] else ""),
        table(
            ("Layer", "Kind", "Weight", "Output", "Parameters", "MACs", "Bytes"),
            [
                (
                    layer.name or "(root)",
                    layer.kind,
                    _shape(layer.weight_shape),
                    _shape(layer.output_shape),
                    count(layer.n_params),
                    count(layer.macs),
                    count(layer.n_bytes),
                )
                for layer in network.layers
            ],
            left=4,
        ),
        table(
            ("Units that leave together", "Kind", "Layers touched", "Units"),
            [
                (group.name, group.kind, ", ".join(group.layers), count(group.n_units))
                for group in network.groups
            ],
            left=3,
        ),
        _unknown(network),
    ]
    return "\n\n".join(parts)


def _unknown(network: "Network") -> str:
    if not network.unknown_operators:
        return "Every operator is known."
    found = ", ".join(f"{name} ({n}x)" for name, n in network.unknown_operators.items())
    return f"Operators without a rule, whose units are locked: {found}."


def _shape(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape)) or "scalar"
