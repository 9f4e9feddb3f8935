"""What usage meant: series of usage for charts and comparisons."""
