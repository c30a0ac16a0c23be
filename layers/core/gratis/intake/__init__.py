"""What comes in: sources, validation, messages, and the queue."""
