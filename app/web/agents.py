"""A browser in a few words, for lists of sessions: `Chrome · Windows`. What nobody knows is called by its first word."""

import re

from flask import request

#: The first that is found counts: most browsers claim to be several others.
BROWSERS = (
    ("MicroMessenger", "WeChat"), ("DingTalk", "DingTalk"), ("HeadlessChrome", "Chrome"), ("Edg", "Edge"), ("OPR", "Opera"),
    ("QQBrowser", "QQ Browser"), ("UCBrowser", "UC Browser"), ("HuaweiBrowser", "Huawei Browser"), ("MiuiBrowser", "Mi Browser"),
    ("Firefox", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("HarmonyOS", "HarmonyOS"), ("OpenHarmony", "HarmonyOS"), ("Android", "Android"),
    ("Windows", "Windows"), ("Macintosh", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip
LENGTH_MAX = 80


def agent_words(user_agent: str) -> str:
    """Browser and system; the first word of a program nobody knows; '' when nothing was said."""
    browser = next((name for sign, name in BROWSERS if sign in user_agent), "")
    system = next((name for sign, name in SYSTEMS if sign in user_agent), "")
    if browser or system:
        return " · ".join(part for part in (browser, system) if part)
    first = re.match(r"[A-Za-z][A-Za-z0-9 ._-]{0,29}", user_agent)
    return first[0].strip() if first else ""


def agent() -> str:
    """The browser behind this request."""
    return agent_words(request.user_agent.string)[:LENGTH_MAX]
