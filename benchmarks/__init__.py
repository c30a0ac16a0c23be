"""Gratis measured side by side with what one would otherwise write: `make bench`."""
