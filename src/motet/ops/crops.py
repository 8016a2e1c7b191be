"""Several crops of a picture: the `apart` of a shard whose model answers a crop, and what puts its answers together again.

    five, ten     corners and middle, as torchvision's FiveCrop and TenCrop have them, and their mirror images
    tiles         a grid that covers the picture, tiles overlapping
    mean, most    the answers of a row's crops as one: their mean, or place by place the most
    join_boxes    boxes that were found in tiles, in pixels of the picture

Pictures are `[h, w]` or `[h, w, c]`, channels last; sizes may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from motet.batch import Array, Indices, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows, check_pieces, sum_first
from motet.ops._boxes import boxes_type, corners
from motet.ops._image_types import check_rows, crops_type
from motet.ops._kinds import NUMBERS, float_of, is_any, refuse
from motet.types import ANY, ColumnType, returns

__all__ = ["five", "join_boxes", "mean", "most", "ten", "tiles"]

Place = tuple[int, int]
"""The upper left corner of a crop: top, left."""


@returns(lambda image, size=(): crops_type("five", image, size))
def five(image: Rows, *, size: Sequence[int]) -> tuple[Array, Indices]:
    """The four corners of each picture and its middle: upper left, upper right, lower left, lower right, middle.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        size: height and width of a crop.

    Returns:
        The crops of all rows, five a row, shape `[5 x rows, h, w]` or with channels; and how many each row has.

    Raises:
        InputError: when a picture is smaller.

    >>> pieces, counts = five(np.arange(16).reshape(1, 4, 4), size=(1, 2))
    >>> pieces[:, 0].tolist(), counts.tolist()
    ([[0, 1], [2, 3], [12, 13], [14, 15], [9, 10]], [5])
    """
    check_rows("five", image, lambda kind: crops_type("five", kind, size), "crops")
    return _crops("five", image, size, _five)


@returns(lambda image, size=(): crops_type("ten", image, size))
def ten(image: Rows, *, size: Sequence[int]) -> tuple[Array, Indices]:
    """What `five` gives, and the same of the picture mirrored from left to right.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        size: height and width of a crop.

    >>> pieces, counts = ten(np.arange(16).reshape(1, 4, 4), size=(1, 2))
    >>> pieces[5:, 0].tolist(), counts.tolist()
    ([[3, 2], [1, 0], [15, 14], [13, 12], [10, 9]], [10])
    """
    check_rows("ten", image, lambda kind: crops_type("ten", kind, size), "crops")
    return _crops("ten", image, size, _five, mirrored=True)


@returns(lambda image, size=(), overlap=0: crops_type("tiles", image, size, overlap))
def tiles(image: Rows, *, size: Sequence[int], overlap: int = 0) -> tuple[Array, Indices]:
    """A grid of tiles that covers each picture, line by line. The last ones of a line and the lowest end with the picture.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        size: height and width of a tile.
        overlap: pixels that a tile shares with the next at least.

    Raises:
        InputError: when a picture is smaller than a tile.

    >>> pieces, counts = tiles(np.arange(10).reshape(1, 2, 5), size=(2, 2))
    >>> pieces[:, 0].tolist(), counts.tolist()
    ([[0, 1], [2, 3], [3, 4]], [3])
    """
    check_rows("tiles", image, lambda kind: crops_type("tiles", kind, size, overlap), "crops")
    return _crops("tiles", image, size, lambda shape, size: _grid(shape, size, overlap))


def _five(shape: Sequence[int], size: Sequence[int]) -> list[Place]:
    """As torchvision has them: the middle is rounded as Python rounds."""
    low, right = shape[0] - size[0], shape[1] - size[1]
    return [(0, 0), (0, right), (low, 0), (low, right), (round(low / 2), round(right / 2))]


def _grid(shape: Sequence[int], size: Sequence[int], overlap: int) -> list[Place]:
    def along(have: int, want: int) -> list[int]:
        return [*range(0, have - want, want - overlap), have - want]

    return [(top, left) for top in along(shape[0], size[0]) for left in along(shape[1], size[1])]


def _crops(
    function: str,
    image: Rows,
    size: Sequence[int],
    places: Callable[[Sequence[int], Sequence[int]], list[Place]],
    *,
    mirrored: bool = False,
) -> tuple[Array, Indices]:
    found: list[Array] = []
    counts = np.zeros(len(image), dtype=np.int64)
    for row, pixels in enumerate(image):
        _check_size(function, pixels.shape, size)
        for each in (pixels, pixels[:, ::-1]) if mirrored else (pixels,):
            cut = [each[top : top + size[0], left : left + size[1]] for top, left in places(each.shape, size)]
            found += cut
            counts[row] += len(cut)
    if found:
        _check_channels(function, found)
        return np.stack(found), counts
    held = image if isinstance(image, np.ndarray | Ragged) else Ragged.from_rows(image)
    channels = (
        held.shape[3:] if isinstance(held, np.ndarray) else held.shapes.shape[1:2] and (3,) * (held.shapes.shape[1] - 2)
    )
    return np.empty((0, *size, *channels), dtype=held.dtype), counts


def _check_size(function: str, shape: Sequence[int], size: Sequence[int]) -> None:
    if shape[0] < size[0] or shape[1] < size[1]:
        raise InputError(
            f"an image of {shape[0]} x {shape[1]} is smaller than {size[0]} x {size[1]}",
            where=f"motet.ops.crops.{function}",
            hint="motet.ops.image.resize_shorter before it takes any image to a size",
        )


def _check_channels(function: str, crops: Sequence[Array]) -> None:
    """See that all are of one shape: of a column pictures have as many channels each."""
    if len(shapes := {each.shape[2:] for each in crops}) > 1:
        first, other, *_ = sorted(f"[h, w, {', '.join(map(str, shape))}]" if shape else "[h, w]" for shape in shapes)
        hint = "decode all pictures with the same mode, or route them"
        what = f"pictures of a column have the same channels; got {first} and {other}"
        raise InputError(what, where=f"motet.ops.crops.{function}", hint=hint)


def _joined_type(function: str, answers: ColumnType) -> ColumnType:
    if answers.dtype not in NUMBERS | {"any"} or answers.varies:
        refuse(function, "numbers of one shape a crop", answers)
    return ANY if is_any(answers) else answers


@returns(
    lambda answers, counts: (lambda kind: kind if is_any(kind) else kind.with_dtype(float_of(kind)))(
        _joined_type("mean", answers)
    )
)
def mean(answers: Array, counts: Indices) -> Array:
    """The mean of what the crops of each row were answered, the `together` of a shard.

    Args:
        answers: numbers of one shape, one a crop, shape `[crops, ...]`.
        counts: how many crops each row has.

    Returns:
        float32, or float64 where that came, shape `[rows, ...]`; NaN for a row without crops.

    >>> mean(np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]]), np.array([2, 1])).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    dtype = np.float64 if answers.dtype == np.float64 else np.float32
    return _by_row("mean", answers.astype(dtype), counts, lambda part: sum_first(part) / dtype(len(part)))


@returns(lambda answers, counts: _joined_type("most", answers))
def most(answers: Array, counts: Indices) -> Array:
    """Place by place the most that a crop of the row was answered, the `together` of a shard: what is anywhere in the picture.

    Args:
        answers: numbers of one shape, one a crop, shape `[crops, ...]`.
        counts: how many crops each row has, at least one.

    >>> most(np.array([[0.0, 1.0], [1.0, 0.5]]), np.array([2])).tolist()
    [[1.0, 1.0]]
    """
    return _by_row("most", answers, counts, lambda part: part.max(axis=0))


def _by_row(function: str, answers: Array, counts: Indices, joined: Callable[[Array], Array]) -> Array:
    check_pieces(f"crops.{function}", answers, counts)
    result = np.empty((len(counts), *answers.shape[1:]), dtype=answers.dtype)
    first = 0
    for row, count in enumerate(counts.tolist()):
        if count:
            result[row] = joined(answers[first : first + count])
        elif answers.dtype.kind == "f":
            result[row] = np.nan
        else:
            raise InputError(f"row {row} has no crops", where=f"motet.ops.crops.{function}")
        first += count
    return result


def _join_boxes_type(
    boxes: ColumnType, counts: ColumnType, image: ColumnType, size: Sequence[int] = (), overlap: int = 0
) -> ColumnType:
    kind = boxes_type("join_boxes", boxes)
    crops_type("tiles", image, size, overlap)
    return ANY if is_any(kind) else ColumnType(kind.dtype, (None, 4))


@returns(_join_boxes_type)
def join_boxes(boxes: Rows, counts: Indices, image: Rows, *, size: Sequence[int], overlap: int = 0) -> Ragged:
    """Boxes that were found in `tiles`, in pixels of the picture, the `together` of a shard with the picture as `together_inputs`.

    Scores and classes of the boxes are put together by `motet.ops.ranking.join`; what tiles share is found twice, and
    `motet.ops.boxes.nms` behind it leaves one.

    Args:
        boxes: left, top, right, bottom in pixels of a tile, `[?, 4]` a tile.
        counts: how many tiles each row has.
        image: the pictures that were cut.
        size, overlap: as `tiles` was given them.

    >>> found = [np.array([[0, 0, 1, 1]]), np.array([[0, 0, 2, 2]]), np.zeros((0, 4))]
    >>> join_boxes(found, np.array([3]), np.zeros((1, 2, 5)), size=(2, 2))[0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 4.0, 2.0]]
    """
    check_pieces("crops.join_boxes", boxes, counts)
    parts, first = [], 0
    for pixels, count in zip(image, counts.tolist(), strict=True):
        places = _grid(pixels.shape, size, overlap)
        if len(places) != count:
            what = (
                f"an image of {pixels.shape[0]} x {pixels.shape[1]} has {len(places)} tiles, and {count} were answered"
            )
            raise InputError(what, where="motet.ops.crops.join_boxes", hint="give size and overlap as tiles has them")
        own = [corners("join_boxes", boxes[first + at], module="crops") for at in range(count)]
        parts.append(np.concatenate([*_moved(own, places), np.empty((0, 4), dtype=np.float32)]))
        first += count
    return Ragged.from_rows(parts, dtype=parts[0].dtype if parts else np.float32, axes=2)


def _moved(boxes: Sequence[Array], places: Sequence[Place]) -> Iterator[Array]:
    for found, (top, left) in zip(boxes, places, strict=True):
        dtype = np.float64 if found.dtype == np.float64 else np.float32
        yield found.astype(dtype) + np.array([left, top, left, top], dtype=dtype)
