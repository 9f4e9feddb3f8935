"""Price plans and rating: pure, with lines that show their working."""
