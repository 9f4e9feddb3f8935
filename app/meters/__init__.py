"""Meters: readings and usage, commands and permits, protocols, the head-end, the simulated street."""
