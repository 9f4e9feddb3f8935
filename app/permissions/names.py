"""How a sign-in name is spelled."""


def plain_login(login: str) -> str:
    """The one spelling of a sign-in name: no blanks around it, lower case."""
    return login.strip().lower()
