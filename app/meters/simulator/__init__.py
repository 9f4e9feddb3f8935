"""A street of meters that do not exist: they answer real frames over real sockets, driven by real homes."""
