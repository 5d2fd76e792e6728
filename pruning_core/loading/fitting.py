"""Weights of a file in an architecture: which name is which, what differs, and what would help."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from torch import Tensor, nn

from pruning_core.errors import UnsupportedModelError
from pruning_core.loading.intake.contents import shortened
from pruning_core.loading.weights_only import in_order

Verdict = Literal["same name", "renamed", "shape differs", "missing in the file", "not used"]

_PREFIXES: Final = (
    *(
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "network.",
        "backbone.",
        "encoder.",
        "state_dict.",
    ),
    *("ema.", "ema_model.", "model_ema.", "online.", "student.", "base_model.", "model.model."),
)
_LAYER_NAMES: Final = (("gamma", "weight"), ("beta", "bias"))
_OPTIONAL: Final = ("num_batches_tracked", "position_ids", "relative_position_index")


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of the architecture or of the file.

    Attributes:
        verdict: What became of it.
        name: Its name in the architecture; empty if it is only in the file.
        shape: Its shape there.
        file_name: Its name in the file; empty if it is only in the architecture.
        file_shape: Its shape there.
    """

    verdict: Verdict
    name: str
    shape: tuple[int, ...] | None
    file_name: str
    file_shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Fit:
    """How the tensors of a file go with an architecture.

    Attributes:
        rows: One for each tensor, in the order of the architecture; what is only in the file last.
        rules: What was done to the names of the file, in words; empty if nothing had to be.
        n_classes: Outputs that the last layer gets because the file has so many; None to keep it.
        problem: Why the weights cannot be put in, and what to do; empty if they can.
    """

    rows: tuple[Row, ...]
    rules: tuple[str, ...]
    n_classes: int | None
    problem: str

    @property
    def is_whole(self) -> bool:
        """True when every tensor of the architecture is found in the file."""
        return not self.problem


def fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> Fit:
    """Compare the state dict of ``module`` with ``tensors``; try what names usually differ by."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in in_order(tensors).items()}
    names, rules = _best_names(wanted, given)
    n_classes = _other_classes(module, wanted, {new: given[old] for new, old in names.items()})
    if n_classes is not None:
        rules = (*rules, f"give the last layer {n_classes} outputs, as the file has them")
    rows = tuple(_rows(wanted, given, names, _last_layer(module) if n_classes else ""))
    return Fit(rows, rules, n_classes, _problem(rows))


def fitted(module: nn.Module, tensors: Mapping[str, Tensor], title: str) -> nn.Module:
    """Return ``module`` with the weights of ``tensors``, after what :func:`fit` suggests.

    Raises:
        UnsupportedModelError: If a tensor is missing, has another shape, or holds whole numbers
            where the architecture has weights.
    """
    found = fit(module, tensors)
    if found.problem:
        raise UnsupportedModelError(f"The weights '{title}' do not fit: {found.problem}")
    if found.n_classes is not None:
        _set_outputs(module, found.n_classes)
    state = module.state_dict()
    for row in found.rows:
        if row.name and row.file_name:
            given = tensors[row.file_name]
            if state[row.name].is_floating_point() and not given.is_floating_point():
                raise UnsupportedModelError(
                    f"The weights '{title}' do not fit: '{shortened(row.file_name, 40)}' holds "
                    f"whole numbers ({str(given.dtype).removeprefix('torch.')}), no trained "
                    "weights. Save float weights; quantised ones cannot be pruned."
                )
            state[row.name] = given.to(state[row.name].dtype, copy=True)
    module.load_state_dict(state)
    return module


def _best_names(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return for names of the architecture those of the file, and the rules that lead there."""
    best: tuple[int, int, dict[str, str], tuple[str, ...]] | None = None
    for rules, names in _renamings(wanted, given):
        same = sum(wanted.get(new) == given[old] for new, old in names.items())
        if best is None or (same, -len(rules)) > best[:2]:
            best = (same, -len(rules), names, rules)
    if best is None:
        return {}, ()
    names, rules = best[2], best[3]
    if best[0] * 2 < len(wanted):
        by_order = _by_order(wanted, given)
        if by_order:
            return by_order, ("take the tensors in their order: all shapes agree, no name does",)
    return names, rules


def _renamings(
    wanted: Iterable[str], given: Iterable[str]
) -> Iterable[tuple[tuple[str, ...], dict[str, str]]]:
    """Yield rules and the names they make: nothing, prefixes taken away or added, old words."""
    targets, sources = list(wanted), list(given)
    stripped = {"": {name: name for name in sources}}
    for _ in range(3):  # prefixes of prefixes
        for done, names in list(stripped.items()):
            for prefix in _candidates(names):
                if done + prefix not in stripped:
                    stripped[done + prefix] = {
                        new[len(prefix) :]: old
                        for new, old in names.items()
                        if new.startswith(prefix) and len(new) > len(prefix)
                    }
    for prefix, names in stripped.items():
        rules = (f"take '{prefix}' away from the front of names",) if prefix else ()
        yield rules, names
        words = {_modern(new): old for new, old in names.items()}
        if words.keys() != names.keys():
            yield (*rules, "read gamma as weight, beta as bias"), words
        for added in _added(targets, names):
            more = {added + new: old for new, old in names.items()}
            yield (*rules, f"put '{added}' in front of names"), more


def _candidates(names: Iterable[str]) -> list[str]:
    """Return prefixes that names begin with: the usual ones, and any that most share."""
    listed = list(names)
    first = {name.partition(".")[0] + "." for name in listed if "." in name}
    shared = {part for part in first if sum(n.startswith(part) for n in listed) * 2 > len(listed)}
    usual = {prefix for prefix in _PREFIXES if any(name.startswith(prefix) for name in listed)}
    return sorted(shared | usual)


def _added(targets: list[str], names: Iterable[str]) -> list[str]:
    own = set(names)
    first = {name.partition(".")[0] + "." for name in targets if "." in name}
    return sorted(
        part for part in first if any(t.startswith(part) and t[len(part) :] in own for t in targets)
    )


def _modern(name: str) -> str:
    head, dot, last = name.rpartition(".")
    return head + dot + dict(_LAYER_NAMES).get(last, last)


def _by_order(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Return names by their order if all shapes agree, otherwise nothing."""
    pairs = list(zip(wanted.items(), given.items(), strict=False))
    if len(wanted) != len(given) or any(a[1] != b[1] for a, b in pairs):
        return {}
    distinct = len(set(wanted.values()))
    return {new: old for (new, _), (old, _) in pairs} if distinct > 1 else {}


def _rows(
    wanted: Mapping[str, tuple[int, ...]],
    given: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    resized: str,
) -> Iterable[Row]:
    used: set[str] = set()
    for name, shape in wanted.items():
        old = names.get(name)
        if old is None:
            yield Row("missing in the file", name, shape, "", None)
            continue
        used.add(old)
        same = shape == given[old] or (bool(resized) and name.rpartition(".")[0] == resized)
        verdict: Verdict = "shape differs"
        if same:
            verdict = "same name" if old == name else "renamed"
        yield Row(verdict, name, shape, old, given[old])
    for old, shape in given.items():
        if old not in used:
            yield Row("not used", "", None, old, shape)


def _problem(rows: tuple[Row, ...]) -> str:
    differ = [row for row in rows if row.verdict == "shape differs"]
    missing = [
        row
        for row in rows
        if row.verdict == "missing in the file" and not row.name.endswith(_OPTIONAL)
    ]
    if differ:
        row = differ[0]
        more = f", and {len(differ) - 1} more" if len(differ) > 1 else ""
        return (
            f"'{shortened(row.name, 40)}' has the shape {row.shape}, in the file "
            f"{row.file_shape}{more}. Choose the architecture the file was made for."
        )
    if missing:
        unused = [row.file_name for row in rows if row.verdict == "not used"]
        close = get_close_matches(missing[0].name, unused, n=1)
        hint = f" Did the file call it '{shortened(close[0], 40)}'?" if close else ""
        return (
            f"{len(missing)} of {sum(bool(row.name) for row in rows)} tensors are not in the file, "
            f"the first is '{shortened(missing[0].name, 40)}'.{hint}"
        )
    return ""


def _last_layer(module: nn.Module) -> str:
    """Return the name of the last linear layer (or 1 x 1 convolution), the usual classifier."""
    found = ""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            found = name
    return found


def _other_classes(
    module: nn.Module,
    wanted: Mapping[str, tuple[int, ...]],
    given: Mapping[str, tuple[int, ...]],
) -> int | None:
    """Return the outputs of the last layer in the file, if nothing but their number differs."""
    differ = {name for name in wanted if name in given and wanted[name] != given[name]}
    last = _last_layer(module)
    weight, bias = f"{last}.weight", f"{last}.bias"
    if not last or weight not in differ or not differ <= {weight, bias}:
        return None
    new, old = given[weight], wanted[weight]
    if len(new) != len(old) or new[1:] != old[1:]:
        return None
    return new[0] if bias not in given or given[bias] == new[:1] else None


def _set_outputs(module: nn.Module, n: int) -> None:
    """Give the last layer ``n`` outputs."""
    layer = module.get_submodule(_last_layer(module))
    for name, parameter in list(layer.named_parameters(recurse=False)):
        fresh = parameter.detach().new_zeros((n, *parameter.shape[1:]))
        setattr(layer, name, nn.Parameter(fresh))
    if isinstance(layer, nn.Linear):
        layer.out_features = n
    elif isinstance(layer, nn.Conv2d):
        layer.out_channels = n
