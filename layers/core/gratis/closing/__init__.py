"""Closes days: proves them from their decisions and writes the statements. SPEC section 3, promise 6.

Each check is a module: `sums` (which is the statement), `totals`, `again` (decided again), `tiling`, `duplicates`.
`proving` reads a day and has them all look at it, `close` writes what comes of it.
"""
