"""The story: a home runs out of credit, is warned, is cut off, pays, has its light back; each step with its evidence.

Real processes on a private database, real frames over sockets, a cashier at the real web form. Only the clock is moved,
and only when everything that could happen at an instant has happened.
"""
