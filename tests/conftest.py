"""One thread a process, so that tests can run side by side and give the same bits each time."""

import torch

torch.set_num_threads(1)
