"""Gratis: free or billed, decided once for every LLM request, exactly."""
