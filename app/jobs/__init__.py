"""Work outside a request: one visible table from event to use-case, the schedule, the relay and the workers.

PostgreSQL holds the truth (outbox rows, schedule rows); Redis and RQ only carry "there is work for consumer pricing of
tenant 7", may lose it, and may say it twice. A sweep every few seconds makes up for what was lost.
"""
