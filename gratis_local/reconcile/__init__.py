"""Compares what Gratis decided with the platform's own word. SPEC section 5, `gratis reconcile`.

`pages` reads the pages of OpenAI's Usage and Costs API, `fetched` gets them, `decided` reads our side, `compare` holds
one against the other, `causes` says why they may differ, `told` prints it.
"""
