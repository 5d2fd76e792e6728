"""Networks that choose by values (boxes, experts) are recorded, pruned and proven all the same."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.choices import Choices
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.trace import trace
from tests.core.oracles import zero_units


class Detector(nn.Module):
    """Boxes whose score is above a half, the best first; a second head looks at these alone."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.body, self.score, self.box = nn.Linear(6, 10), nn.Linear(10, 1), nn.Linear(10, 4)
        self.refine = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
        self.threshold = threshold

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for places in x:  # [places, features] of one image
            hidden = self.body(places).relu()
            score = self.score(hidden).sigmoid().flatten()
            above = torch.where(score > self.threshold)[0]
            best = above[score[above].argsort(descending=True)]
            found.append(self.refine(self.box(hidden)[best]))
        return found


def halved(detector: Detector, image: Tensor) -> tuple[nn.Module, nn.Module, str]:
    """The detector without half of its units, the dense one with these at zero, the reason."""
    network = trace(detector, image)
    keep = np.arange(network.cost.n_units) % 2 == 0
    removal = remove_units(network, keep)
    return removal.module, zero_units(network, keep), removal.graph_reason


@pytest.mark.parametrize("threshold", [0.5, 2.0], ids=["boxes", "no box"])
def test_a_detector_keeps_its_class(threshold: float) -> None:
    torch.manual_seed(0)
    detector = Detector(threshold).eval()
    pruned, zeroed, reason = halved(detector, torch.randn(1, 40, 6))
    assert (type(pruned), reason) == (Detector, "")
    assert pruned.body.weight.shape == (5, 6)
    images = torch.randn(3, 40, 6)
    with torch.no_grad():
        for left, right in zip(pruned(images), zeroed(images), strict=True):
            torch.testing.assert_close(left, right)


def test_a_detector_that_hides_a_wrong_cut_behind_its_choice_is_found_out() -> None:
    class Wrong(Detector):
        def forward(self, x: Tensor) -> list[Tensor]:
            return super().forward(x * self.body.weight.shape[0] / 10)

    torch.manual_seed(0)
    _, _, reason = halved(Wrong(threshold=2.0).eval(), torch.randn(1, 40, 6))
    assert reason == (
        "its class computes something else with the new sizes. What the model runs depends on the "
        "values of its input, so it cannot be rewritten as a graph for any input."
    )


def test_repeated_choices_pick_the_same_of_nearly_equal_candidates() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    with Choices() as dense:
        best, places = scores.topk(2)
        assert best.tolist() == [[3.0, 2.0], [3.0, 2.0]]
    other = scores.flip(1)
    with Choices(dense.made):
        picked, same = other.topk(2)
    assert torch.equal(places, same)
    assert torch.equal(picked, other.gather(1, places))


def test_a_repeated_extreme_reads_the_place_that_was_chosen() -> None:
    scores = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    with Choices() as dense:
        scores.max(0, keepdim=False)
    with Choices(dense.made):
        values, places = (-scores).max(0)
    assert (values.tolist(), places.tolist()) == ([-3.0, -2.0], [0, 1])


def test_other_choices_than_before_are_an_error() -> None:
    with Choices() as dense:
        _ = torch.ones(3) > 0
    with Choices(dense.made), pytest.raises(RuntimeError, match="from 'argmax' on"):
        torch.ones(3).argmax()


def test_a_choice_over_fewer_numbers_stays_as_it_is() -> None:
    with Choices() as dense:
        _ = torch.ones(4) > 0
    with Choices(dense.made):
        assert (torch.zeros(3) > 0).tolist() == [False, False, False]
