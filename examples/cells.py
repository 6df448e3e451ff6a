"""Synthetic cells for the microscopy example: drawings, not a simulation; no figure of theirs says anything of biology.

Three stains, 40×40 pixels, 12-bit counts with shot noise, and a few hot pixels as cameras have them. Interphase and
prophase differ in DNA alone; metaphase and anaphase in DNA and, less clearly, in tubulin; actin tells flat from round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "STAINS", "draw_cells"]

CLASSES = ("interphase", "prophase", "metaphase", "anaphase")
STAINS = ("DNA", "tubulin", "actin")
_SIDE = 40
Array = npt.NDArray[Any]


def draw_cells(per_class: int, *, seed: int) -> tuple[Array, Array]:
    """Images (N, 3, 40, 40) uint16 and labels (N,), the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(CLASSES)), per_class)
    return np.stack([_counts(_cell(CLASSES[label], rng), rng) for label in labels]), labels


def _cell(kind: str, rng: np.random.Generator) -> Array:
    """Brightness (3, H, W) of each stain from 0 to about 1."""
    angle, (shift_y, shift_x) = rng.uniform(0, np.pi), rng.uniform(-3, 3, 2)
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    y, x = y - shift_y, x - shift_x
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    round_up = kind in ("metaphase", "anaphase")
    radius = rng.uniform(11, 13) if round_up else rng.uniform(12, 16)
    distance = np.hypot(along / (1.0 if round_up else rng.uniform(1.0, 1.3)), across)
    body, rim = _step(radius - distance), np.exp(-(((distance - radius) / 1.5) ** 2))
    nucleus = _step(rng.uniform(6, 8) - np.hypot(along, across))
    if kind == "interphase":
        dna, tubulin = 0.4 * nucleus, 0.4 * body
    elif kind == "prophase":
        grain = np.kron(rng.uniform(0, 1, (20, 20)), np.ones((2, 2)))
        dna, tubulin = nucleus * (0.2 + 0.6 * grain**2), 0.4 * body
    else:
        apart = rng.uniform(4, 7) if kind == "anaphase" else 0.0
        plates = [np.exp(-(((along - side * apart) / 1.8) ** 2) - (across / 6) ** 4) for side in (-1, 1)]
        dna = 0.9 * np.maximum(*plates)
        tubulin = 0.3 * body + 0.5 * np.exp(-((across / 4) ** 2) - (along / (6 + apart)) ** 4)
    actin = 0.3 * body + (0.6 if round_up else 0.25) * rim
    return np.stack([dna, tubulin, actin]) * rng.uniform(0.6, 1.2, (3, 1, 1))  # stains take unevenly


def _step(distance: Array) -> Array:
    """0 outside, 1 inside, with a soft edge."""
    return 1 / (1 + np.exp(-2 * distance))


def _counts(cell: Array, rng: np.random.Generator) -> Array:
    """A 12-bit camera's counts: offset, shot noise, read noise, and a hot pixel now and then."""
    photons = rng.poisson(np.array([14, 16, 20])[:, None, None] * cell + 6)
    counts = 100 + 60 * photons + rng.normal(0, 12, cell.shape)
    counts[rng.random(cell.shape) < 2e-4] = 4095
    return np.clip(counts, 0, 4095).astype(np.uint16)
