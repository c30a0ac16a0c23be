"""What the tests are built from: events and organizations, offers, clients that fail as told, deployed functions.

Whatever a test does not name is ordinary: org_a of tier 4 shares everything, and a request is free.
"""
