"""The head-end: the one process that owns the sockets to gateways.

server, dialler ── a gateway is there ──► line (bus + polling) ──► intake ──► readings in the database
commands in the database ──► dispatch ──► line ──► read-back ──► commands in the database
"""
