"""Tiny models and data for every task, for the tests."""

import numpy as np
import torch
from torch import nn

TEXT = "".join(chr(97 + (3 * i) % 7) + (" " if i % 5 == 4 else "") for i in range(3_000))


class Numbers(nn.Module):
    def __init__(self, k=1):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 16), nn.Linear(16, k)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return {"out": self.last(torch.relu(self.norm(self.first(x))))}


class Letters(nn.Module):
    def __init__(self, size=256):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(size, 12), nn.Linear(12, 24)
        self.out = nn.Linear(24, size)

    def forward(self, tokens):
        return self.out(torch.relu(self.hidden(self.embedding(tokens))))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(30, 16), nn.Linear(16, 3)
        self.lstm = nn.LSTM(16, 16, batch_first=True)

    def forward(self, tokens):
        return self.out(self.lstm(self.embedding(tokens))[0][:, -1])


def seeded(kind, *inputs):
    torch.manual_seed(0)
    return kind(), inputs


def numbers():
    return seeded(Numbers, torch.randn(2, 4))


def pixels():
    return seeded(Pixels, torch.randn(2, 1, 8, 8))


def letters():
    return seeded(Letters, torch.randint(0, 256, (2, 16)))


def words():
    return seeded(Words, torch.randint(0, 30, (2, 6)))


def number_data():
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    return x, (100 + 20 * x[:, :1] - 5 * x[:, 1:2]).astype(np.float32)


def pixel_data(n=40):
    rng = np.random.default_rng(0)
    masks = np.zeros((n, 8, 8), np.uint8)
    for mask in masks:
        for label in (1, 2):
            row, column = rng.integers(0, 5, 2)
            mask[row : row + 3, column : column + 3] = label
    images = (100 * masks + rng.integers(0, 30, masks.shape)).astype(np.uint8)
    return images[:, None], masks


def word_data():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30, (90, 6))
    tokens[:, -1] = rng.integers(0, 3, 90)
    return tokens, tokens[:, -1]
