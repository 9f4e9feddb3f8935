"""Parts of pages that refresh by themselves: sent again only when they say something new."""

import re
from hashlib import sha256
from typing import Any

from flask import Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

#: The forgery token of a form is new each time and says nothing new.
TOKEN = re.compile(r'name="csrf_token" value="[^"]*"')


def live_part(template: str, **context: Any) -> ResponseReturnValue:
    """A part for polling: 204 while the page already shows exactly this, so that nothing under the pointer moves."""
    html = render_template(template, **context)
    seen = digest_of(html)
    if request.args.get("seen") == seen:
        return Response(status=204)
    answer = make_response(html)
    answer.headers["X-Seen"] = seen
    return answer


def digest_of(html: str) -> str:
    """Twelve characters that stand for a rendered part."""
    return sha256(TOKEN.sub("", html).encode()).hexdigest()[:12]
