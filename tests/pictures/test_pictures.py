"""Pictures: of images every pixel is checked; of plots where they are, what is in proportion and what is left alone."""

import importlib.util
import pathlib
import subprocess
import sys
import textwrap

import matplotlib.style
import numpy as np
import pytest

import keras_vae.pictures
from keras_vae.pictures import Pixels, Plots, picture_of
from keras_vae.pictures.plots import in_words

pytestmark = pytest.mark.filterwarnings("error")

PAGE = 224
BLUE, VERMILLION, SKY = (0, 114, 178), (213, 94, 0), (86, 180, 233)
BORDER, ZERO, INK = (200, 200, 200), (180, 180, 180), (48, 48, 48)


def alone(event_shape, x, **kwargs):
    """The picture of the first example, by the limits of all."""
    return picture_of(event_shape, x, **kwargs).grid(x[:1][None])


def enlarged(levels, times):
    return np.kron(np.asarray(levels, "uint8"), np.ones((times, times, 1), "uint8"))


def some_bytes(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, "uint8")


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def colored(picture, color, within=0):
    return (np.abs(picture.astype(int) - color) <= within).all(-1)


@pytest.mark.parametrize(
    "event_shape, kind, channels",
    [
        ((), Plots, 3),
        ((5,), Plots, 3),
        ((300,), Plots, 3),
        ((50, 8), Plots, 3),
        ((8, 9), Pixels, 1),
        ((8, 8, 1), Pixels, 1),
        ((8, 8, 3), Pixels, 3),
        ((8, 8, 4), Pixels, 4),
        ((8, 8, 2), Pixels, 1),
        ((3, 8, 8, 1), Pixels, 1),
        ((2, 3, 8, 8, 3), Pixels, 3),
    ],
)
def test_the_shape_of_an_example_says_what_it_is_drawn_as(event_shape, kind, channels):
    x = normal(6, *event_shape)
    picture = picture_of(event_shape, x)
    assert type(picture) is kind
    for drawn in (picture.grid(x.reshape(2, 3, *event_shape)), picture.pairs(x, -x), picture.sprite(x)[0]):
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[-1] == channels
        assert drawn.flags.c_contiguous and drawn.std() > 0


@pytest.mark.parametrize("shape", [(28, 27), (-28, -28), (0,)])
def test_a_shape_of_other_elements_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected `shape` to have the elements of an example, 784.*received: \("):
        picture_of((784,), np.zeros((2, 784)), shape=shape)


def test_examples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected `x` of shape \[N, 8, 8, 1\]; received shape: \[2, 64\]"):
        picture_of((8, 8, 1), np.zeros((2, 64)))
    picture = picture_of((8, 8, 1), np.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"expected examples of shape \(8, 8, 1\); received an array: \[1, 2, 64\]"):
        picture.grid(np.zeros((1, 2, 64)))


@pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(ValueError, match="expected `limits` to be finite, the lower first; received:"):
        picture_of((3,), np.zeros((2, 3)), limits=limits)


# Images


@pytest.mark.parametrize(
    "values, dtype, levels",
    [
        ([0.0, 0.2, 1.0], "float32", [0, 51, 255]),
        ([0.2, 0.8, 0.6], "float32", [51, 204, 153]),  # more than half of (0, 1)
        ([-1.0, 0.6, 1.0], "float32", [0, 204, 255]),
        ([-0.2, 0.9, 0.0], "float64", [102, 242, 128]),
        ([0.0, 51.0, 254.0], "float32", [0, 51, 254]),
        ([0.0, 100.0, 50.0], "float32", [0, 255, 128]),  # less than half of (0, 255)
        ([0.0, 0.1, 0.4], "float64", [0, 64, 255]),
        ([-3.0, 2.0, 0.0], "float32", [0, 255, 153]),
        ([1e6, 1e6 + 1, 1e6 + 0.2], "float64", [0, 255, 51]),
        ([0.0, 0.2, 1.0], "float16", [0, 51, 255]),
        ([0, 3, 200], "uint8", [0, 3, 200]),
        ([0, 1, 1], "uint8", [0, 1, 1]),
        ([0, 200, 255], "int64", [0, 200, 255]),
        ([-5, 5, 0], "int8", [0, 255, 128]),
        ([0, 1, 1], "bool", [0, 255, 255]),
        ([0, 0, 0], "bool", [0, 0, 0]),
        ([0.0, 0.0, 0.0], "float32", [0, 0, 0]),  # all one number
        ([1.0, 1.0, 1.0], "float32", [255, 255, 255]),
        ([-0.2, -0.2, -0.2], "float64", [102, 102, 102]),
        ([1e20, 1e20, 1e20], "float32", [128, 128, 128]),
        ([0.0, np.nan, 1.0], "float32", [0, 128, 255]),
        ([np.nan, np.nan, np.nan], "float32", [128, 128, 128]),
        ([-np.inf, 0.8, np.inf], "float64", [0, 204, 255]),
    ],
)
def test_grey_levels(values, dtype, levels):
    """An image of 1 by 3 pixels: each is 19 by 19."""
    x = np.array(values, dtype).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(alone((1, 3, 1), x), enlarged(np.reshape(levels, (1, 3, 1)), 19))


def test_bfloat16():
    x = np.array([0.0, 0.5, 1.0], pytest.importorskip("ml_dtypes").bfloat16).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(alone((1, 3, 1), x)[0, ::19, 0], [0, 128, 255])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_kept(channels):
    x = some_bytes(2, 28, 28, channels)
    np.testing.assert_array_equal(alone((28, 28, channels), x), enlarged(x[0], 2))
    np.testing.assert_array_equal(alone((28, 28, channels), x / 255.0), enlarged(x[0], 2))


def test_alpha_is_scaled_as_colours_are():
    x = np.array([[-1.0, 1.0, 0.6, 0.2], [1.0, 1.0, 1.0, -1.0]]).reshape(1, 1, 2, 4)
    expected = [[[0, 255, 204, 153], [255, 255, 255, 0]]]
    np.testing.assert_array_equal(alone((1, 2, 4), x), enlarged(expected, 28))


def test_a_missing_channel_is_half_and_the_others_stay():
    drawn = alone((1, 1, 3), np.array([0.0, np.nan, 1.0]).reshape(1, 1, 1, 3))
    np.testing.assert_array_equal(drawn[0, 0], [0, 128, 255])


def test_other_channels_are_averaged():
    x = np.array([[0, 100], [200, 50]], "uint8").reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(alone((1, 2, 2), x), enlarged([[[50], [125]]], 28))
    x = np.array([[0.0, 1.0, 0.0, 1.0, 1.0], [np.nan, 1.0, 1.0, 1.0, 1.0]]).reshape(1, 1, 2, 5)
    np.testing.assert_array_equal(alone((1, 2, 5), x), enlarged([[[153], [128]]], 28))


def test_of_volumes_the_middle_is_drawn():
    x = some_bytes(2, 3, 5, 28, 28, 3)
    np.testing.assert_array_equal(alone((3, 5, 28, 28, 3), x), enlarged(x[0, 1, 2], 2))


def test_a_matrix_is_a_grey_image():
    x = some_bytes(2, 28, 14)
    np.testing.assert_array_equal(alone((28, 14), x), enlarged(x[0, ..., None], 2))


@pytest.mark.parametrize("event_shape, shape", [((784,), (28, 28, 1)), ((784,), [28, 28]), ((784, 3), (28, 28, 3))])
def test_flat_pixels_are_seen_in_a_shape(event_shape, shape):
    x = some_bytes(2, *event_shape)
    np.testing.assert_array_equal(alone(event_shape, x, shape=shape), enlarged(x[0].reshape(28, 28, -1), 2))


@pytest.mark.parametrize(
    "side, drawn", [(1, 56), (8, 56), (28, 56), (30, 60), (55, 110), (56, 56), (256, 256), (257, 129), (1000, 250)]
)
def test_sides(side, drawn):
    """An image is enlarged to 56 or more, or thinned out to 256 or less; its shorter side likewise."""
    x = some_bytes(1, side, 1, 3)
    picture = alone((side, 1, 3), x)
    np.testing.assert_array_equal(picture, enlarged(x[0, :: -(-side // 256)], max(1, drawn // side)))
    assert len(picture) == drawn


def test_limits_are_fixed_by_the_first_examples():
    first = np.linspace(0.0, 1.0, 6).reshape(2, 1, 3, 1)
    later = np.array([-9.0, 0.2, 9.0]).reshape(1, 1, 1, 3, 1)
    for limits, levels in ((None, [0, 51, 255]), ((-1, 3), [0, 76, 255])):
        drawn = picture_of((1, 3, 1), first, limits=limits).grid(later)
        np.testing.assert_array_equal(drawn[0, ::19, 0], levels)


@pytest.mark.parametrize("channels, page", [(1, PAGE), (3, PAGE), (4, 0)])
def test_tiles_are_in_their_places(channels, page):
    x = some_bytes(3, 4, 28, 20, channels)
    drawn = picture_of((28, 20, channels), x[0]).grid(x)
    expected = np.full((3 * 58 - 2, 4 * 42 - 2, channels), page)
    for row, column in np.ndindex(3, 4):
        place = np.s_[row * 58 : row * 58 + 56, column * 42 : column * 42 + 40]
        expected[place] = enlarged(x[row, column], 2)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (5, 1, 5), (8, 1, 8), (9, 2, 5), (16, 2, 8), (19, 3, 7)])
def test_originals_are_above_their_reconstructions(n, rows, columns):
    x, y = some_bytes(2, n, 28, 28, 1)
    drawn = picture_of((28, 28, 1), x).pairs(x, y)
    pitch = 2 * 58 + 4  # the gap between pairs is 6 wide, not 2
    expected = np.full((rows * pitch - 6, columns * 58 - 2, 1), PAGE)
    for i in range(n):
        top, left = i // columns * pitch, i % columns * 58
        expected[top : top + 56, left : left + 56] = enlarged(x[i], 2)
        expected[top + 58 : top + 114, left : left + 56] = enlarged(y[i], 2)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("n, columns", [(1, 1), (4, 2), (5, 3), (10, 4)])
@pytest.mark.parametrize(
    "event_shape, times, step", [((28, 14, 1), 1, 1), ((8, 6, 3), 4, 1), ((100, 90, 4), 1, 1), ((600, 300, 1), 1, 3)]
)
def test_sprites(n, columns, event_shape, times, step):
    x = some_bytes(n, *event_shape)
    sheet, (width, height) = picture_of(event_shape, x).sprite(x)
    thumbnails = [enlarged(each, times) for each in x[:, ::step, ::step]]
    assert (height, width) == thumbnails[0].shape[:2]
    expected = np.full((columns * height, columns * width, event_shape[-1]), 0 if event_shape[-1] == 4 else PAGE)
    for place, thumbnail in enumerate(thumbnails):
        top, left = place // columns * height, place % columns * width
        expected[top : top + height, left : left + width] = thumbnail
    np.testing.assert_array_equal(sheet, expected)


@pytest.mark.parametrize(
    "n, event_shape, size", [(3000, (150, 120, 1), (60, 75)), (90_000, (1, 20, 1), (20, 1)), (90_000, (1,), (27, 27))]
)
def test_sprites_fit_the_projector(n, event_shape, size):
    """55 by 55 have 148 pixels each, 300 by 300 have 27."""
    x = np.zeros((n, *event_shape), "uint8")
    sheet, found = picture_of(event_shape, x[:1]).sprite(x)
    columns = 55 if n == 3000 else 300
    assert found == size and sheet.shape[:2] == (columns * size[1], columns * size[0])
    assert max(sheet.shape) <= 8192


# Plots


def cells_of(picture):
    """The parts of a picture inside of a border: for each, its rows and its columns."""
    is_border = colored(picture, BORDER)
    rows = np.flatnonzero(is_border.sum(1) > 0.4 * picture.shape[1]).reshape(-1, 2)
    columns = np.flatnonzero(is_border.sum(0) > 0.4 * picture.shape[0]).reshape(-1, 2)
    return [np.s_[top + 1 : foot, left + 1 : right] for top, foot in rows for left, right in columns]


def cell_of(picture):
    """The inside of the only border, and how many pixels are from the lower limit to the upper, 3 from the border."""
    (place,) = cells_of(picture)
    return picture[place], len(picture[place]) - 6


def is_within(changed, place):
    """Whether a mask is true somewhere in a part of the picture, and nowhere else."""
    elsewhere = changed.copy()
    elsewhere[place] = False
    return changed.any() and not elsewhere.any()


KINDS = [(), (7,), (64,), (100,), (30, 1), (30, 3), (1, 2), (40, 8)]


@pytest.mark.parametrize("event_shape", KINDS)
def test_an_example_changes_its_own_cell_alone(event_shape):
    """Inside of the border, whatever the values."""
    x = normal(3, 4, *event_shape)
    picture = picture_of(event_shape, x.reshape(12, *event_shape))
    before = picture.grid(x)
    cells = cells_of(before)
    assert len(cells) == 12
    for i, place in zip(np.ndindex(3, 4), cells, strict=True):
        changed = x.copy()
        changed[i] *= -100.0
        assert is_within((picture.grid(changed) != before).any(-1), place)


@pytest.mark.parametrize("event_shape", KINDS)
def test_a_pair_changes_its_own_cell_alone(event_shape):
    x, y = normal(2, 16, *event_shape)
    picture = picture_of(event_shape, x)
    before = picture.pairs(x, y)
    cells = cells_of(before)
    assert len(cells) == 16
    for i in (0, 7, 8, 15):
        sign = np.ones((16, *[1] * len(event_shape)))
        sign[i] = -100.0
        for drawn in (picture.pairs(sign * x, y), picture.pairs(x, sign * y)):
            assert is_within((drawn != before).any(-1), cells[i])


@pytest.mark.parametrize("event_shape", KINDS)
def test_a_thumbnail_is_as_it_is_when_drawn_alone(event_shape):
    """On the pixel, of 48 by 48; and the rest of the square is white."""
    x = normal(7, *event_shape)
    picture = picture_of(event_shape, x)
    sheet, size = picture.sprite(x)
    assert size == (48, 48) and sheet.shape == (144, 144, 3)
    cells = sheet.reshape(3, 48, 3, 48, 3).swapaxes(1, 2).reshape(9, 48, 48, 3).astype(int)
    for i in range(7):
        assert cells[i].std() > 0
        np.testing.assert_allclose(cells[i], picture.sprite(x[i : i + 1])[0], atol=3)
    assert (cells[7:] == 255).all()


def bars_in(cell, color):
    """Of every bar of a colour: its height, and how far it is from the top of the cell."""
    is_bar = colored(cell, color, within=127)  # covered by half or more
    columns = np.flatnonzero(is_bar.any(0))
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    middles = [is_bar[:, bar[len(bar) // 2]] for bar in bars]
    return np.array([middle.sum() for middle in middles]), np.array([middle.argmax() for middle in middles])


def test_bars_are_as_high_as_values():
    """To a pixel, up and down from zero."""
    x = np.array([[1.0, 2.0, 4.0, 8.0, -2.0, -4.0]])
    cell, height = cell_of(picture_of((6,), x, limits=(-5, 10)).grid(x[None]))
    heights, tops = bars_in(cell, BLUE)
    np.testing.assert_allclose(heights, np.abs(x[0]) * height / 15, atol=1.0)
    np.testing.assert_allclose(tops, 3 + (10 - np.maximum(x[0], 0.0)) * height / 15, atol=1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_bars_start_at_the_limit_next_to_zero(sign):
    x = sign * np.array([[11.0, 12.0, 14.0, 18.0]])
    cell, height = cell_of(picture_of((4,), x, limits=sorted((sign * 10, sign * 20))).grid(x[None]))
    heights, _ = bars_in(cell, BLUE)
    np.testing.assert_allclose(heights, (np.abs(x[0]) - 10) * height / 10, atol=1.0)


def test_lines_go_where_values_are():
    """A ramp from limit to limit, and a level."""
    x = np.stack([np.linspace(-1.0, 3.0, 200), np.full(200, 2.0)])
    drawn = picture_of((200,), x, limits=(-1, 3)).grid(x[None])
    for place, values in zip(cells_of(drawn), x, strict=True):
        cell = drawn[place]
        ink = np.where(cell[..., 0] < 170, 255.0 - cell[..., 0], 0.0)  # what is darker than the line at zero
        height, width = cell.shape[0] - 6, cell.shape[1] - 6
        for share in (0.1, 0.5, 0.9):
            column = ink[:, round(3 + share * width)]
            middle = (column * np.arange(len(column))).sum() / column.sum()
            value = np.interp(share, np.linspace(0.0, 1.0, 200), values)
            assert abs(middle - (3 + height * (3 - value) / 4)) <= 1.5


@pytest.mark.parametrize("event_shape, color", [((4,), BLUE), ((100,), BLUE), ((30, 2), VERMILLION)])
def test_missing_values_leave_gaps(event_shape, color):
    """Of a level of the last channel the second half is missing."""
    x = np.ones((1, *event_shape))
    picture = picture_of(event_shape, x, limits=(-0.5, 2.0))
    last = x[0] if len(event_shape) == 1 else x[0, :, -1]
    found = []
    for missing in (0, len(last) // 2, len(last)):
        last[len(last) - missing :] = np.nan
        cell, _ = cell_of(picture.grid(x[None]))
        halves = np.split(colored(cell, color, within=60), [cell.shape[1] // 2 + 1], axis=1)
        found.append([half.any() for half in halves])
    assert found == [[True, True], [True, False], [False, False]]


def test_a_point_between_missing_ones_is_seen():
    x = np.full((1, 101), np.nan)
    x[0, 50] = 1.5
    cell, height = cell_of(picture_of((101,), x, limits=(0, 2)).grid(x[None]))
    rows, columns = np.nonzero((cell != 255).any(-1))
    assert abs(rows.mean() - (3 + height / 4)) <= 1.0 and abs(columns.mean() - cell.shape[1] / 2) <= 1.0


@pytest.mark.parametrize("limits, lines", [((-1, 3), 1), ((1, 3), 0), ((0, 3), 0)])
def test_a_line_at_zero_where_zero_is(limits, lines):
    x = np.full((1, 1, 2), 2.0)
    cell, height = cell_of(picture_of((1, 2), x, limits=limits).grid(x[None]))
    rows = np.flatnonzero(colored(cell, ZERO).all(1))
    assert len(rows) == lines
    assert all(abs(row - (3 + 0.75 * height)) <= 1.0 for row in rows)


def test_channels_have_colours_of_their_own_and_a_key():
    x = np.linspace(-1.0, 1.0, 8) * np.ones((1, 20, 1))
    drawn = picture_of((20, 8), x).grid(x[None])
    cell, _ = cell_of(drawn)
    above = drawn[: -len(cell) - 2]
    colors, counts = np.unique(above[~colored(above, INK)], axis=0, return_counts=True)
    patches = [color for color, count in zip(colors, counts, strict=True) if 70 <= count <= 200]
    assert len(patches) == 8
    for color in patches:  # a line's pixels are near its colour
        assert colored(cell, color, within=70).sum() > 0.9 * (cell.shape[1] - 6)


@pytest.mark.parametrize("event_shape", [(), (6,), (100,), (30, 2)])
def test_pairs_are_in_two_colours(event_shape):
    x = normal(3, *event_shape)
    drawn = picture_of(event_shape, x).pairs(x, x + 0.3)
    cells = cells_of(drawn)
    for color in (SKY, VERMILLION):
        assert all(colored(drawn[place], color, within=40).sum() >= 5 for place in cells)
        assert colored(drawn[: cells[0][0].start - 1], color).sum() >= 64  # the key


def test_pairs_show_every_channel():
    x = np.array([-1.0, 0.0, 1.0]) * np.ones((1, 20, 3))
    cell, height = cell_of(picture_of((20, 3), x, limits=(-2, 2)).pairs(x, x + 0.5))
    for color, shift in ((SKY, 0.0), (VERMILLION, 0.5)):
        rows = np.flatnonzero(colored(cell, color, within=110).sum(1) > 60)
        levels = 2 - (rows - 3) * 4 / height
        for value in x[0, 0] + shift:
            assert np.abs(levels - value).min() < 0.1


@pytest.mark.parametrize("event_shape", [(3,), (100,), (30, 2)])
def test_a_reconstruction_lies_on_top(event_shape):
    """Where it is the same as its original, it is seen."""
    x = np.ones((1, *event_shape))
    cell, _ = cell_of(picture_of(event_shape, x, limits=(-2, 2)).pairs(x, x))
    assert colored(cell, VERMILLION, within=110).any(0).sum() >= 60


@pytest.mark.parametrize("x, limits", [([2.0, 12.0], (1.5, 12.5)), ([3.0, 3.0], (1.5, 4.5)), ([0.0, 0.0], (-0.5, 0.5))])
def test_limits_of_plots(x, limits):
    np.testing.assert_allclose(picture_of((2,), np.array([x, [np.nan, np.inf]])).limits, limits)


def test_limits_of_plots_are_fixed_by_the_first_examples():
    """Values beyond are drawn as those at the limits are."""
    picture = picture_of((3,), np.linspace(-1.0, 1.0, 12).reshape(4, 3))
    beyond, at = np.array([[[[-99.0, np.inf, 0.5]]], [[[*picture.limits, 0.5]]]])
    np.testing.assert_array_equal(picture.grid(beyond), picture.grid(at))


@pytest.mark.parametrize(
    "limits, words",
    [
        ((-2.1, 3.4), "-2.1 to 3.4"),
        ((-4.0817, 4.7739), "-4.08 to 4.77"),
        ((0.0, 1234.0), "0 to 1234"),
        ((1000.1, 1000.9), "1000.1 to 1000.9"),
        ((1000.25, 1001.0), "1000.25 to 1001"),
        ((-1e-7, 1e-7), "-1e-07 to 1e-07"),
        ((-1.234e9, 1.234e9), "-1.234e+09 to 1.234e+09"),
    ],
)
def test_the_limits_in_words(limits, words):
    assert in_words(*limits) == words


def test_the_limits_are_written_above():
    x = np.zeros((1, 3))
    above = [picture_of((3,), x, limits=limits).grid(x[None])[:14] for limits in ((-1, 1), (-1, 2))]
    assert all((each < 100).all(-1).sum() > 50 for each in above)
    assert (above[0] != above[1]).any()


@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 3), (4, 4), (20, 20), (1, 40)])
@pytest.mark.parametrize("event_shape", [(13,), (64,), (50, 2)])
def test_cells_are_large_enough_and_figures_not_too_large(rows, columns, event_shape):
    x = np.zeros((rows, columns, *event_shape))
    height, width, _ = picture_of(event_shape, x[0]).grid(x).shape
    assert width >= 236 and width >= columns * (90 if columns < 16 else 38) and height >= rows * 78
    assert width <= 1600 and height <= 1640


def test_whole_numbers_and_halves_are_drawn_as_floats_are():
    x = np.arange(12).reshape(2, 6)
    expected = picture_of((6,), x.astype("float64")).grid(x[None])
    for dtype in ("int64", "uint8", "float16"):
        np.testing.assert_array_equal(picture_of((6,), x.astype(dtype)).grid(x.astype(dtype)[None]), expected)


# What they need, and what they leave alone


def test_missing_matplotlib_is_said_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"expected matplotlib.*not installed.*pip install \"keras_vae\[pictures\]\""):
        picture_of((3,), np.zeros((2, 3)))
    assert picture_of((8, 8, 1), np.zeros((2, 8, 8, 1))).grid(np.zeros((1, 1, 8, 8, 1))).shape == (56, 56, 1)


def printed(code):
    """What a script prints that has `picture_of` and nothing else of keras_vae, whose `__init__` imports Keras."""
    setting = f"""
        import sys, types
        import numpy as np
        sys.modules["keras_vae"] = types.ModuleType("keras_vae")
        sys.modules["keras_vae"].__path__ = [{str(pathlib.Path(keras_vae.pictures.__file__).parents[1])!r}]
        from keras_vae.pictures import picture_of

        def draw(shape):
            x = np.random.default_rng(0).normal(size=(4, *shape))
            picture = picture_of(shape, x)
            picture.grid(x[None]), picture.pairs(x, x), picture.sprite(x)
    """
    script = textwrap.dedent(setting) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_images_need_numpy_alone():
    code = "draw((8, 8, 1)); print({'matplotlib', 'tensorflow', 'keras', 'PIL', 'scipy'} & set(sys.modules))"
    assert printed(code) == ["set()"]


def test_plots_leave_pyplot_and_the_settings_alone():
    code = """
        draw((50, 2)); draw((3,))
        print({"matplotlib.pyplot", "tensorflow", "keras"} & set(sys.modules))
        import matplotlib
        settings = dict(matplotlib.rcParams)  # to be read, one of them asks for pyplot
        draw((50, 2)); draw((3,))
        print(settings == dict(matplotlib.rcParams))
    """
    assert printed(code) == ["set()", "True"]


@pytest.mark.parametrize("event_shape", [(6,), (30, 2)])
def test_the_user_s_settings_change_nothing(event_shape):
    x = normal(4, *event_shape)
    picture = picture_of(event_shape, x)

    def drawn():
        return picture.grid(x[None]), picture.pairs(x, -x), picture.sprite(x)[0]

    theirs = {
        **matplotlib.style.library["dark_background"],
        **{"figure.dpi": 300, "font.size": 30, "font.family": "monospace", "figure.constrained_layout.use": True},
        **{"lines.linewidth": 9, "lines.antialiased": False, "patch.antialiased": False, "patch.linewidth": 5},
        "patch.force_edgecolor": True,
    }
    expected = drawn()
    with matplotlib.rc_context(theirs):
        found = drawn()
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(before, after)
