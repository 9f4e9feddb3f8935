"""Whose it is: tenants, their organisation tree, buildings and people, and the audit log."""
