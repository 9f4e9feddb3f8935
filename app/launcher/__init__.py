"""The product on one machine: its own PostgreSQL and Valkey, and every process of it, with one command.

Nothing here touches the machine outside: no system user is made, no permission of a folder that is not ours
is changed, nothing listens on anything but a private socket or the loopback address.
"""
