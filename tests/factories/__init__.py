"""Small worlds for tests: each function makes one thing with sensible defaults."""
