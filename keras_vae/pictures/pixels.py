"""Images: examples as tiles of a picture, pixel for pixel."""

import math

import numpy as np

GAP = 2  # pixels between tiles
WIDE_GAP = 6  # between a row of reconstructions and the originals below
PAGE = 224  # the grey between tiles, which parts black ones and white ones
MISSING = 128  # mid-grey
MOST_PAIRS = 8  # in a row
FEW = 12  # in a row of a grid
GRID_SIDE = 1600
SPRITE_SIDE = 8192  # the most that TensorBoard's projector shows


class Pixels:
    """Images, side by side.

    Between the limits a pixel goes from black to white; beyond, infinities too, it is clipped. NaN, an entry that is
    missing, is 128, mid-grey. Of RGBA the alpha channel is scaled as the others are.

    An image is enlarged by the least whole number that makes its longer side 56 pixels. In a grid of more than 12 in a
    row that is 28 pixels. An image longer than 256, or than a grid of 1600 has room for, is thinned out: every second
    pixel is shown, or fewer.

    Args:
        event_shape: the shape of one example.
        shape: the shape it is seen in: `[height, width]`, `[..., height, width, channels]`.
        limits: (low, high).
    """

    def __init__(self, event_shape, shape, limits):
        self.event_shape = event_shape
        self.shape = shape
        self.limits = limits

    @staticmethod
    def limits_of(x):
        """Which numbers are shown as black and as white.

        Bytes have (0, 255). Else it is the first of (0, 1), (-1, 1) and (0, 255) that holds all of x, of which
        x takes up half. (If all of x is one number: the first that holds it.) Else it is x's own ends.
        """
        if x.dtype == "uint8":
            return 0.0, 255.0
        low, high = ends(x)
        for least, most in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
            if least <= low and high <= most and (low == high or high - low >= 0.5 * (most - least)):
                return least, most
        return (low, high) if low < high else around(low)

    def grid(self, x):
        """Examples `[rows, columns, *event]` in their places: uint8 `[height, width, channels]`."""
        side = max(x.shape[:2])
        tiles = self._tiles(x, least=56 if side <= FEW else 28, most=max(28, min(256, GRID_SIDE // side)))
        return sheet(tiles.reshape(*x.shape[:2], *tiles.shape[1:]), GAP)

    def pairs(self, x, y):
        """Originals and reconstructions, both `[N, *event]`, each original above its reconstruction, up to 8 in a
        row: uint8 `[height, width, channels]`.
        """
        rows, columns = pair_rows(x, MOST_PAIRS)
        tiles = np.stack([filled(self._tiles(each), rows * columns) for each in (x, y)])
        tile = tiles.shape[2:]
        in_turn = tiles.reshape(2, rows, columns, *tile).swapaxes(0, 1)
        picture = sheet(in_turn.reshape(2 * rows, columns, *tile), GAP)
        starts = np.arange(1, rows) * 2 * (tile[0] + GAP)  # of the originals' rows, but the first
        return np.insert(picture, np.repeat(starts, WIDE_GAP - GAP), page(picture), axis=0)

    def sprite(self, x):
        """Examples `[N, *event]` as TensorBoard's projector wants them: thumbnails row by row in a square.

        Its side has ceil(sqrt(N)) of them, without gaps. Each has 28 pixels or more, as far as 8192 are enough for all.

        Returns: uint8 `[height, width, channels]`, and the (width, height) of a thumbnail.
        """
        columns = sprite_columns(x)
        tiles = self._tiles(x, least=28, most=min(256, SPRITE_SIDE // columns))
        height, width = tiles.shape[1:3]
        tiles = filled(tiles, columns**2)
        return sheet(tiles.reshape(columns, columns, *tiles.shape[1:]), 0), (width, height)

    def _tiles(self, x, least=56, most=256):
        """Examples as tiles, uint8 `[N, height, width, channels]`, whose longer side is `least` to `most`."""
        x = examples(x, self.event_shape, self.shape)
        x = x[..., None] if x.ndim == 3 else x
        while x.ndim > 4:
            x = x[:, x.shape[1] // 2]
        step = -(-max(x.shape[1:3]) // most)
        pixels = self._bytes(x[:, ::step, ::step])
        side = max(pixels.shape[1:3])
        times = max(1, min(-(-least // side), most // side))
        return pixels.repeat(times, axis=1).repeat(times, axis=2)

    def _bytes(self, x):
        """Images `[N, height, width, channels]` in uint8, of 1, 3 or 4 channels."""
        low, high = self.limits
        x = np.clip(x.astype("float64"), low, high)
        if x.shape[-1] not in (1, 3, 4):
            x = x.mean(axis=-1, keepdims=True)
        x -= low
        x /= high - low
        x *= 255.0
        np.nan_to_num(x, copy=False, nan=MISSING)
        return np.rint(x, out=x).astype("uint8")


def examples(x, event_shape, shape):
    """Examples `[..., *event_shape]` as `[N, *shape]`."""
    x = np.asarray(x)
    leading = x.ndim - len(event_shape)
    if leading < 1 or x.shape[leading:] != event_shape:
        raise ValueError(f"picture: expected examples of shape {event_shape}; received an array: {list(x.shape)}")
    return x.reshape(-1, *shape)


def ends(x):
    """The least and the greatest number of x that is finite; of none, 0 and 1."""
    finite = x[np.isfinite(x)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def around(number):
    """Limits with a number in the middle, which is all there is."""
    half = 0.5 * max(1.0, abs(number))
    return number - half, number + half


def pair_rows(x, most):
    """In how many rows and columns N pairs are drawn, of at most so many: rows as full as can be."""
    rows = -(-len(x) // most)
    return rows, -(-len(x) // rows)


def sprite_columns(x):
    """The least number whose square is N or more."""
    return math.isqrt(len(x) - 1) + 1


def page(pixels):
    """What pictures like `pixels` have where there is no tile: transparency, or a light grey."""
    return 0 if pixels.shape[-1] == 4 else PAGE


def filled(tiles, count):
    """Tiles, with empty ones behind up to a count."""
    empty = np.full((count - len(tiles), *tiles.shape[1:]), page(tiles), "uint8")
    return np.concatenate([tiles, empty])


def sheet(tiles, gap):
    """Tiles `[rows, columns, height, width, channels]` in their places."""
    rows, columns, height, width, channels = tiles.shape
    places = np.full((rows, height + gap, columns, width + gap, channels), page(tiles), "uint8")
    places[:, :height, :, :width] = tiles.swapaxes(1, 2)
    picture = places.reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.ascontiguousarray(picture[: len(picture) - gap, : picture.shape[1] - gap])
