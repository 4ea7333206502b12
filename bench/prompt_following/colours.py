"""The English name of a colour, by its hue, and how light it is. Knows no clips."""

from __future__ import annotations

import colorsys

import numpy as np

from bench.prompt_following.masks import Floats

__all__ = ["colour_of", "lightness_of"]

#: Where each name's hues end, in degrees; red goes on from 345 to 360.
_HUES = (
    (14, "red"),
    (42, "orange"),
    (70, "yellow"),
    (165, "green"),
    (200, "cyan"),
    (258, "blue"),
    (300, "purple"),
    (345, "pink"),
    (360, "red"),
)

#: The luma of a dark and a light background. Whoever takes video's limited range (16 to 235) for the full
#: one, or the full one for it, is off by 13 or more at both.
_LEVELS = {"dark": 22.0, "light": 232.0}
_OFF = 9.0
_TINGED = 24.0  # levels between a background's largest and least channel: those that it should have have 6

_GREY = 0.2  # less saturated is no colour but white, grey or black
_WHITE, _BLACK = 0.7, 0.3  # of its largest channel, 0 to 1


def colour_of(rgb: Floats) -> str:
    """The name of a colour, (3,), 0 to 255."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(channel) / 255 for channel in rgb))
    if value < _BLACK:
        return "black"
    if saturation < _GREY:
        return "white" if value > _WHITE else "grey"
    return next(name for end, name in _HUES if hue * 360 <= end)


def lightness_of(rgb: Floats) -> str:
    """`dark`, `light`, or `unclear` where it is neither as it should be: of a background, (3,), 0 to 255."""
    if float(np.ptp(rgb)) > _TINGED:
        return "unclear"
    luma = 0.2126 * float(rgb[0]) + 0.7152 * float(rgb[1]) + 0.0722 * float(rgb[2])  # as of BT.709
    return next((name for name, level in _LEVELS.items() if abs(luma - level) < _OFF), "unclear")
