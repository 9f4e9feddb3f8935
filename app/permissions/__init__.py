"""Who may: users, sessions, tokens, grants, and the table of roles."""
