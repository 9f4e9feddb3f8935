"""What every answer must carry behind TLS, whatever its status (catalogue S10, S13)."""

import re
from http.cookies import SimpleCookie
from typing import Any

#: Preferences that carry no right: losing one changes a language. Everything else is bound to the host by its prefix.
PREFERENCES = {"locale", "theme", "property"}
AGE = re.compile(r"max-age=(\d+)")
YEAR_S = 31_536_000


def faults_of(answer: Any, *, static: bool = False) -> list[str]:
    """What an answer's headers lack; empty when they are right."""
    headers = answer.headers
    policy = headers.get("Content-Security-Policy", "")
    age = AGE.search(headers.get("Strict-Transport-Security", ""))
    right = {
        "HSTS of a year": bool(age and int(age[1]) >= YEAR_S),
        "CSP without unsafe-*": bool(policy) and "unsafe" not in policy,
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "object and base": "default-src 'none'" in policy and "base-uri 'none'" in policy,
        "nosniff": headers.get("X-Content-Type-Options") == "nosniff",
        "Referrer-Policy": "Referrer-Policy" in headers,
        "no-store": static or "no-store" in headers.get("Cache-Control", ""),
        "no validator": static or not {"Etag", "Last-Modified"} & {name.title() for name, _value in headers},
        "no wildcard": headers.get("Access-Control-Allow-Origin") is None,
    }
    return [name for name, good in right.items() if not good] + _cookies(headers.getlist("Set-Cookie"))


def _cookies(said: list[str]) -> list[str]:
    found = []
    for line in said:
        for name, cookie in SimpleCookie(line).items():
            right = cookie["secure"] and cookie["httponly"] and cookie["samesite"] in ("Lax", "Strict")
            if name not in PREFERENCES:
                right = right and name.startswith("__Host-") and cookie["path"] == "/" and not cookie["domain"]
            if not right:
                found.append(f"cookie {line}")
    return found
