"""Gratis: free or billed, decided once for every LLM request, exactly."""

__version__ = "0.1.0"
