"""The formats of what is stored and emitted. SPEC section 3, promise 7.

Decisions, counter documents, accounts and quarantine entries carry the number of the format that they were written in;
what carries none is of the first. A reader takes the fields that it knows of any format. A writer writes its own, and
keeps the fields that it does not know in whatever it replaces.
"""

FIRST = 1
FORMAT = 2
"""The format that this release writes."""
RESERVING = 3
"""Of a counter document that holds reservations: whoever does not know them must not decide on it."""
