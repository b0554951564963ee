"""What the local stack says while it works."""

from functools import partial

say = partial(print, flush=True)
