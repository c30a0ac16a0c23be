"""What must hold when a world has ended: one check a file."""
