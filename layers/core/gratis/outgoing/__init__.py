"""Outgoing webhooks: an organization's own endpoints get what the bus says of it. SPEC section 5.

`endpoints` and `deliveries` are what is stored, `targets` says which addresses may be called and calls them, `sending`
takes an event to its endpoints and decides what becomes of an attempt.
"""
