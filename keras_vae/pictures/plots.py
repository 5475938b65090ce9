"""Sequences, vectors and numbers: examples as small plots, all in one figure of matplotlib's."""

import importlib.util
import itertools
import math

import numpy as np

from keras_vae.pictures.pixels import SPRITE_SIDE, around, ends, examples, pair_rows, sprite_columns

MOST_PAIRS = 4  # in a row
# Okabe and Ito's colours, which the colour-blind tell apart, with grey for yellow, which is too pale for a line.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
ORIGINAL, RECONSTRUCTION = "#56B4E9", "#D55E00"
BORDER, ZERO, INK = "#C8C8C8", "#B4B4B4", "#303030"
MOST_BARS = 64
WIDEST_SLOT = 24  # pixels of a bar and the space beside it
TEXT = 16  # pixels of a line of text
DPI = 64  # a power of two: pixels become inches, and pixels again, without an error


class Plots:
    """Plots, side by side in cells of equal size, each from `limits[0]` at its foot to `limits[1]` at its head.

    Bars start at zero, or at the limit that is next to it. A value beyond the limits, infinity too, is clipped; where
    one is NaN, an entry that is missing, there is a gap.

    Args:
        event_shape: the shape of one example.
        shape: the shape it is seen in: `[]`, `[entries]` or `[time, channels]`.
        limits: (low, high).

    Raises:
        ImportError: if matplotlib is not installed.
    """

    def __init__(self, event_shape, shape, limits):
        if not importlib.util.find_spec("matplotlib"):
            raise ImportError(
                "keras_vae: expected matplotlib, to draw sequences and vectors; it is not installed. To install it: "
                'pip install "keras_vae[pictures]"'
            )
        self.event_shape = event_shape
        self.shape = shape
        self.limits = limits
        self.has_bars = len(shape) < 2 and math.prod(shape) <= MOST_BARS

    @staticmethod
    def limits_of(x):
        """x's own ends, and a twentieth of the range beyond each."""
        low, high = ends(x)
        margin = 0.05 * (high - low)
        return (low - margin, high + margin) if low < high else around(low)

    def grid(self, x):
        """Examples `[rows, columns, *event]` in their places: uint8 `[height, width, 3]`."""
        rows, columns = x.shape[:2]
        channels = self.shape[1] if len(self.shape) == 2 else 1
        cells = self._cells(rows, columns, lines=1 if channels == 1 else 2)
        if channels > 1:
            cells.text("channel", line=1)
            for channel in range(channels):
                cells.key(str(channel), COLOURS[channel], line=1, left=54 + 23 * channel)
        cells.borders(rows * columns)
        cells.zeros(rows * columns)
        self._draw(cells, x, COLOURS)
        return cells.pixels()

    def pairs(self, x, y):
        """Originals and reconstructions, both `[N, *event]`, as uint8 `[height, width, 3]`.

        Each reconstruction lies over its original, as a line or as dashes over bars, up to 4 cells in a row. All
        channels have one colour.
        """
        cells = self._cells(*pair_rows(x, MOST_PAIRS), lines=2)
        cells.key("original", ORIGINAL, line=1)
        cells.key("reconstruction", RECONSTRUCTION, line=1, left=80)
        cells.borders(len(x))
        cells.zeros(len(x))
        self._draw(cells, x, [ORIGINAL], width=3.0)
        if self.has_bars:
            cells.dashes(self._rows(y), RECONSTRUCTION)
        else:
            self._draw(cells, y, [RECONSTRUCTION])
        return cells.pixels()

    def sprite(self, x):
        """Examples `[N, *event]` as TensorBoard's projector wants them: thumbnails row by row in a square.

        Its side has ceil(sqrt(N)) of them, without gaps. Each has 48 pixels, or as many as 8192 are enough for.

        Returns: uint8 `[height, width, 3]`, and the (width, height) of a thumbnail.
        """
        columns = sprite_columns(x)
        side = min(48, SPRITE_SIDE // columns)
        cells = Cells(columns, columns, (side, side), self.limits, margin=2)
        cells.zeros(len(x))
        self._draw(cells, x, COLOURS)
        return cells.pixels(), (side, side)

    def _cells(self, rows, columns, lines):
        """Cells that can be read, in a figure of 240 to about 1600 pixels, with room for lines of text above."""
        width = 140 if not self.has_bars else max(140, 3 * math.prod(self.shape))
        width = max(20, min(width, 1600 // columns), -(-240 // columns))
        height = max(20, min(100, 1600 // rows))
        cells = Cells(rows, columns, (width - 4, height - 4), self.limits, margin=4, gap=4, lines=lines)
        cells.text(f"each cell: {in_words(*self.limits)}")
        return cells

    def _draw(self, cells, x, colours, width=1.2):
        if self.has_bars:
            cells.bars(self._rows(x), colours[0])
        else:
            cells.lines(self._rows(x), colours, width)

    def _rows(self, x):
        """Examples as `[N, entries]`, or as `[N, time, channels]`."""
        x = examples(x, self.event_shape, self.shape).astype("float64")
        if self.has_bars:
            return x.reshape(len(x), -1)
        return x if x.ndim == 3 else x[..., None]


class Cells:
    """A figure of equal cells, row by row, to be drawn in.

    What is drawn in all of them is one collection, in pixels: an axes for each cell would take many times as long.
    Colours, widths and sizes are not left to matplotlib's settings, which are the user's.

    Args:
        rows, columns: how many there are.
        size: (width, height) of one.
        limits: (low, high), the values at its foot and head.
        margin: pixels that stay empty inside its edges.
        gap: pixels between cells.
        lines: of text, above all cells.
    """

    def __init__(self, rows, columns, size, limits, margin, gap=0, lines=0):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = size
        self.limits = limits
        self.margin = margin
        self.total = rows * (self.height + gap) - gap + lines * TEXT
        across = columns * (self.width + gap) - gap
        row, column = np.divmod(np.arange(rows * columns), columns)
        self.lefts = column * (self.width + gap)
        self.feet = self.total - lines * TEXT - row * (self.height + gap) - self.height  # from the lower edge up
        self.figure = Figure((across / DPI, self.total / DPI), dpi=DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def borders(self, count):
        """A thin line around each of the first cells."""
        left, foot = self.lefts[:count] + 0.5, self.feet[:count] + 0.5  # the middle of a pixel
        self._fill(left, left + self.width - 1, foot, foot + self.height - 1, "none", edge=BORDER)

    def zeros(self, count):
        """A line at zero in the first cells, if it is between the limits."""
        low, high = self.limits
        if low < 0.0 < high:
            foot = np.floor(self._heights(np.zeros((count, 1))))
            left = self.lefts[:count, None]
            self._fill(left + 1, left + self.width - 1, foot, foot + 1, ZERO)

    def bars(self, x, colour):
        """A bar for each entry of `[N, entries]`."""
        self._fill(*self._slots(x, share=0.8), self._heights(np.zeros_like(x)), self._heights(x), colour)

    def dashes(self, x, colour):
        """A dash at the height of each entry of `[N, entries]`."""
        middle = self._heights(x)
        self._fill(*self._slots(x, share=1.0), middle - 1, middle + 1, colour)

    def lines(self, x, colours, width):
        """A line for each channel of `[N, time, channels]`; of a point between missing ones, a dash."""
        from matplotlib.collections import LineCollection
        from matplotlib.transforms import IdentityTransform

        count, time, _ = x.shape
        steps = np.linspace(0.0, 1.0, time) if time > 1 else np.array([0.5])
        across = self.lefts[:count, None] + self.margin + steps * (self.width - 2 * self.margin)
        for channel, colour in zip(np.moveaxis(self._heights(x), -1, 0), itertools.cycle(colours), strict=False):
            is_there = np.pad(np.isfinite(channel), [(0, 0), (1, 1)])
            alone = is_there[:, 1:-1] & ~is_there[:, :-2] & ~is_there[:, 2:]
            left, height = across[alone] - width, channel[alone]
            dashes = np.stack([np.stack([left, height], -1), np.stack([left + 2 * width, height], -1)], 1)
            for segments in (np.stack([across, channel], -1), dashes):
                self.figure.add_artist(
                    LineCollection(
                        segments,
                        colors=colour,
                        linewidths=width * 72 / DPI,
                        antialiaseds=True,
                        snap=False,
                        transform=IdentityTransform(),
                    )
                )

    def text(self, words, line=0, left=0):
        """Words in a line above all cells."""
        from matplotlib.transforms import IdentityTransform

        self.figure.text(
            left,
            self.total - TEXT * (line + 0.75),
            words,
            color=INK,
            size=12 * 72 / DPI,
            family="DejaVu Sans",  # which comes with matplotlib
            parse_math=False,
            usetex=False,
            transform=IdentityTransform(),
        )

    def key(self, words, colour, line, left=0):
        """A patch of a colour, and what it stands for, in a line above all cells."""
        foot = self.total - TEXT * (line + 0.75)
        self._fill(left, left + 9, foot, foot + 9, colour)
        self.text(words, line, left + 12)

    def pixels(self):
        """What was drawn, uint8 `[height, width, 3]`."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _fill(self, left, right, foot, head, colour, edge="none"):
        """Rectangles between these, which are broadcast; none where one is NaN."""
        from matplotlib.collections import PolyCollection
        from matplotlib.transforms import IdentityTransform

        corners = np.broadcast_arrays(left, foot, left, head, right, head, right, foot)
        corners = np.stack(corners, -1, dtype="float64").reshape(-1, 4, 2)
        self.figure.add_artist(
            PolyCollection(
                corners[np.isfinite(corners).all((1, 2))],
                facecolors=colour,
                edgecolors=edge,
                linewidths=0.0 if edge == "none" else 72 / DPI,
                antialiaseds=True,
                snap=False,
                joinstyle="miter",
                transform=IdentityTransform(),
            )
        )

    def _heights(self, x):
        """Where values `[N, ...]` are, in pixels from the lower edge."""
        low, high = self.limits
        feet = self.feet[: len(x)].reshape(-1, *[1] * (x.ndim - 1)) + self.margin
        return feet + (np.clip(x, low, high) - low) / (high - low) * (self.height - 2 * self.margin)

    def _slots(self, x, share):
        """Where the slots of the entries of `[N, entries]` begin and end, a share of each."""
        count, entries = x.shape
        slot = min(WIDEST_SLOT, (self.width - 2 * self.margin) / entries)
        middle = self.lefts[:count, None] + 0.5 * self.width + slot * (np.arange(entries) - 0.5 * (entries - 1))
        half = 0.5 * share * slot
        return middle - half, middle + half


def in_words(low, high):
    """Limits, in as many digits as tell them apart."""
    least = min(6, max(3, len(str(int(max(-low, high))))))  # 1234 rather than 1.23e+03
    blur = 0.02 * (high - low)
    digits = next(n for n in range(least, 18) if all(abs(float(f"{end:.{n}g}") - end) <= blur for end in (low, high)))
    return f"{low:.{digits}g} to {high:.{digits}g}"
