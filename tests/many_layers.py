"""A chain of many small layers, for what must stay fast with hundreds of rows."""

import torch
from torch import Tensor, nn

N_LAYERS = 500
IDENTITY = "python:tests.many_layers:chain"
EVIL = "<img src=x onerror=hacked=1>"
LONG = "a_name_that_goes_on_and_on_and_on_until_nobody_remembers_how_it_began_or_what_it_was_for"


def chain() -> tuple[nn.Module, Tensor]:
    """Return 250 convolutions 1x1 of 8 channels, then 250 Linears of 8 neurons."""
    body = nn.Sequential()
    names = {2: EVIL, 3: LONG}
    for number in range(N_LAYERS // 2):
        name = names.get(number, f"stage_{number // 50}_block_{number % 50}_conv")
        body.add_module(name, nn.Conv2d(8, 8, 1))
        body.add_module(f"relu_{number}", nn.ReLU())
    body.add_module("flatten", nn.Flatten())
    for number in range(N_LAYERS // 2):
        body.add_module(f"head_{number}", nn.Linear(8, 8))
        body.add_module(f"tanh_{number}", nn.Tanh())
    return body, torch.zeros(1, 8, 1, 1)
