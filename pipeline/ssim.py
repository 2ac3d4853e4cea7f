"""Structural similarity of two frames with OpenCV's filters: scikit-image's figures, several times as fast.

S(x, y) = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx + sy + C2)),  C1 = (0.01 R)^2,  C2 = (0.03 R)^2

with local means m, variances s and covariance sxy under a window, averaged over channels and over the pixels whose
window lies within the frame. Tests hold both to ``skimage.metrics.structural_similarity``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Filter = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def gaussian_ssim(one: Frame, other: Frame) -> float:
    """SSIM of (height, width, 3) frames: Gaussian window (sigma 1.5, 11 x 11), population covariance, range 1.

    References
    ----------
    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    import cv2

    def window(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT))

    return _ssim(one / 255.0, other / 255.0, window, pad=5, unbiased=1.0, data_range=1.0)


def uniform_ssim(one: Frame, other: Frame) -> float:
    """SSIM of (height, width, 3) frames: uniform 7 x 7 window, sample covariance, range 255."""
    import cv2

    def window(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.blur(image, (7, 7), borderType=cv2.BORDER_REFLECT))

    x, y = one.astype(np.float64), other.astype(np.float64)
    return _ssim(x, y, window, pad=3, unbiased=49 / 48, data_range=255.0)


def column_ssim(one: Frame, other: Frame) -> float:
    """One-dimensional SSIM of grey frames whose columns are taken for channels, as in NEURONS' released code."""
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    return float(structural_similarity(rgb2gray(one), rgb2gray(other), channel_axis=-1, data_range=1.0))


def _ssim(
    x: NDArray[np.float64], y: NDArray[np.float64], window: Filter, *, pad: int, unbiased: float, data_range: float
) -> float:
    """The equation above; ``unbiased`` turns population into sample covariance."""
    mean_x, mean_y = window(x), window(y)
    both = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    variances = unbiased * (window(x * x) + window(y * y) - squares)
    covariance = unbiased * (window(x * y) - both)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = (2 * both + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return float(found[pad:-pad, pad:-pad].mean())
