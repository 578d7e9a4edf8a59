"""Windows of arrays around sources: the right values, read as seldom as can be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xonoff.nearby import Nearby

SHAPE = (70, 90)
IMAGE = np.arange(float(np.prod(SHAPE)) * 2).reshape(*SHAPE, 2)


class Reader:
    def __init__(self) -> None:
        self.windows: list[tuple[slice, slice]] = []

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        self.windows.append((rows, columns))
        return IMAGE[rows, columns]


@settings(max_examples=50, deadline=None)
@given(
    asked=st.lists(st.lists(st.integers(0, SHAPE[0] * SHAPE[1] - 1), min_size=1, max_size=5), min_size=1, max_size=5)
)
def test_it_gives_the_values_of_the_pixels_in_any_order_of_questions(asked):
    nearby = Nearby(Reader(), SHAPE)
    for pixels in asked:
        numbers = np.array(pixels)
        np.testing.assert_array_equal(nearby.take(numbers), IMAGE.reshape(-1, 2)[numbers])


def test_what_is_in_memory_is_not_read_again():
    reader = Reader()
    nearby = Nearby(reader, SHAPE)
    middle = 40 * SHAPE[1] + 40
    for step in range(-5, 6):
        nearby.take(np.array([middle + step, middle + step * SHAPE[1]]))
    assert len(reader.windows) == 1
    nearby.take(np.array([0]))
    assert len(reader.windows) == 2
    assert reader.windows[1] == (slice(0, 32), slice(0, 32))
    nearby.take(np.array([SHAPE[0] * SHAPE[1] - 1]))
    assert reader.windows[2] == (slice(64, 70), slice(64, 90))
