"""What is shown: rows for pages, and the paper that leaves the house."""
