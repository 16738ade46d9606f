"""How often Python looks for cycles among all objects, in processes that keep thousands of them for good.

By its own rule it does whenever their number has grown by a quarter. While mirrors are filled that is time and again, and was four fifths
of what it cost to take in 20,000 objects. Young objects are looked through as usual, so what fails and is tried again leaves nothing.
"""

from __future__ import annotations

import gc
from typing import Final

ORDINARY: Final = gc.get_threshold()
SELDOM: Final = 1000
"""Of the searches among the middle generation, so many go before one among all: some seven million objects."""


def fills() -> None:
    """Mirrors are about to be filled."""
    gc.set_threshold(*ORDINARY[:2], SELDOM)


def is_full() -> None:
    """They are: what is there now stays, and isn't looked through any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*ORDINARY)
