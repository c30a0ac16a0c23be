"""What each function imports before anything else.

For the life of its process the garbage collector runs less often. A start makes objects and drops none; that Python
looks through them again and again is a tenth of its time. A batch leaves next to nothing in cycles, which a test holds
to, so the memory of a warm function does not grow.

And pydantic looks for no plugins of itself, for which it reads the metadata of every installed package.
"""

import gc
import os

NEW_OBJECTS = 200_000
"""Between two collections; Python's own is 700 or 2,000. A start and its first answer make up to 130,000, and
a batch of 1,000 events holds fewer than 50,000 at once."""
gc.set_threshold(NEW_OBJECTS)
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
