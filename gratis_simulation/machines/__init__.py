"""What a world runs on: a table, a queue, a stream and a bus, workers that stop anywhere, and what goes wrong."""
