"""A synthetic hyperspectral scene for the example: spectra and patches are drawn, and say nothing of nature."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

__all__ = ["MATERIALS", "WAVELENGTHS_NM", "draw_scene"]

MATERIALS = ("soil", "stubble", "grass", "water")
WAVELENGTHS_NM = np.linspace(400, 900, 60)
_SIDE = 120
Array = npt.NDArray[Any]


def draw_scene(*, seed: int) -> tuple[Array, Array]:
    """Scene (H, W, C) of reflectances in float32, and its label map (H, W) from 1; 0, at boundaries, is no label."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(len(MATERIALS), _SIDE, _SIDE)), (0, 9, 9), mode="wrap")
    shares = np.exp(9 * fields / fields.std())
    shares /= shares.sum(0)
    light = 1 + 0.25 * gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 6) * 12  # slopes and shadows
    spectra = np.stack([_spectrum(name) for name in MATERIALS])
    scene = light[:, :, None] * np.einsum("mhw,mc->hwc", shares, spectra)
    scene += rng.normal(0, 0.02, scene.shape)
    labels = np.where(shares.max(0) > 0.6, shares.argmax(0) + 1, 0)
    return scene.clip(0).astype(np.float32), labels.astype(np.uint8)


def _spectrum(material: str) -> Array:
    """Reflectance at each wavelength; soil and stubble are alike but for a shallow dip at 670 nm."""
    red_edge = 1 / (1 + np.exp(-(WAVELENGTHS_NM - 715) / 12))
    ramp = (WAVELENGTHS_NM - 400) / 500

    def bump(centre: float, width: float) -> Array:
        return np.asarray(np.exp(-(((WAVELENGTHS_NM - centre) / width) ** 2)))

    if material == "grass":
        return 0.04 + 0.06 * bump(550, 35) + 0.40 * red_edge
    if material == "water":
        return 0.06 * (1 - ramp) + 0.02
    return 0.10 + 0.22 * ramp - (0.06 * bump(670, 25) if material == "stubble" else 0.0)
