"""Machines ask here: signed or with a token, JSON in and out, no session."""
