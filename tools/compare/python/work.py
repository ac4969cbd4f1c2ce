"""The work that every system is given, and the place where its workers meet: as in src/work.rs."""

import mmap
import os
import time

import numpy

MASK = (1 << 64) - 1
FACTOR = 0x9E3779B97F4A7C15
# What a look at an array may ask for, besides the number of an element.
NOTHING = -1
EVERYTHING = -2
# Words between those of the two workers, so that they lie on lines of their own.
STRIDE = 16
# How long a worker waits for the other one.
MEET_SECONDS = 120

_place = None


def chain(links, seed):
    """A chain of operations, each of which needs the one before."""
    for _ in range(links):
        seed = seed * FACTOR & MASK
        seed = (seed << 29 | seed >> 35) & MASK
    return seed


def meet(turn, seat):
    """Returns when the workers of both seats have come, so that none does the other's part."""
    global _place
    if _place is None:
        file = os.open(os.environ["COMPARE_MEET"], os.O_RDWR)
        _place = memoryview(mmap.mmap(file, 2 * STRIDE * 8)).cast("Q")
    _place[seat * STRIDE] = turn
    deadline = time.monotonic() + MEET_SECONDS
    while _place[(1 - seat) * STRIDE] < turn:
        if time.monotonic() > deadline:
            raise TimeoutError("the other worker does not come")
        os.sched_yield()


def look(turn, seat, part, array=None):
    """Waits for the other worker, then looks at an array."""
    meet(turn, seat)
    return seen(part, array)


def seen(part, array):
    if part == NOTHING:
        return 0.0
    return float(array.sum() if part == EVERYTHING else array[part])


def make(length):
    return numpy.full(length, float(length))


def numbers(length):
    """Whole numbers, so that their sum does not depend on the order of additions."""
    array = numpy.empty(length)
    array.reshape(-1, 1024)[:] = numpy.arange(1024.0)
    return array
