"""What a granularity looks like: its mask on a corner of a bundled network's layer, as SVG."""

from pruning_core.lessons import lab
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:lenet_5"
_LAYER = "conv2"
_ROWS, _COLUMNS = 16, 40


def shape_of(granularity: str, caption: str, *, dark: bool) -> tuple[str, float] | None:
    """Return the picture of a layer that lost half of its units, and the share that is zero.

    A pattern takes the share it has by itself; None where the network has no such units.

    Args:
        granularity: Key of a granularity.
        caption: What a screen reader says.
        dark: Whether it is for a dark page.
    """
    import numpy as np

    from pruning_core.errors import PruningError
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption
    from pruning_core.figures.drawing import svg
    from pruning_core.figures.palette import palette

    recipe = Recipe(model=_MODEL, granularity=granularity, target=Ratio(value=0.5), scope="local")
    try:
        masks = lab.plan(recipe).masks(lab.subject(_MODEL).network)
    except PruningError:
        return None
    name = f"{_LAYER}.weight"
    if name not in masks:
        return None
    values = np.abs(lab.weight(_MODEL, name))
    gone = ~masks[name].reshape(values.shape[0], -1)[:_ROWS, :_COLUMNS]
    panel = teaching.Panel("", values.reshape(values.shape[0], -1)[:_ROWS, :_COLUMNS], gone)
    figure = teaching.cells(
        [panel], Caption(caption, caption), palette(dark=dark), across="", down="", height=210
    )
    drawn = svg(figure, name=f"shape-{granularity.replace(':', '-')}")
    return None if drawn is None else (drawn, float(1 - masks[name].mean()))
