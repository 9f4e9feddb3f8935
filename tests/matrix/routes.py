"""The rules of the application, read without a database, so that tests can be named by them."""

import inspect
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Blueprint, Flask
from werkzeug.routing import Rule

import app.web
from app.permissions.policy import Permission
from app.web.guards import SIGNED_IN

PUBLIC = "public"
#: Endpoints of the residents' own page.
RESIDENTS = "resident."
_KNOWN = re.compile(r"""(form|args|values|files)(?:\.get|\.getlist|\.pop)?[\[(]\s*['"](\w+)['"]""")


@dataclass(frozen=True)
class Route:
    """One rule and one method of it."""

    rule: str
    method: str
    endpoint: str
    arguments: tuple[str, ...]

    @property
    def view(self) -> Any:
        """The view function."""
        return skeleton().view_functions[self.endpoint]

    @property
    def need(self) -> Permission | str:
        """The permission the view names; PUBLIC, or SIGNED_IN."""
        named = getattr(self.view, "permission", "")
        return PUBLIC if named is None or self.endpoint == "static" else named

    @property
    def area(self) -> str:
        """The first word of the address."""
        return self.rule.split("/")[1] or "today"

    @property
    def is_safe(self) -> bool:
        """Whether it may change nothing."""
        return self.method == "GET"

    @property
    def name(self) -> str:
        """How tests and tables call it."""
        return f"{self.method} {self.rule}"

    def parts(self) -> list[str]:
        """The rule up to and including each of its arguments: `/plans/<uuid:public_id>`, then what follows it."""
        return [self.rule[: found.end()] for found in re.finditer(r"<[^>]+>", self.rule)]

    def fields(self, *sources: str) -> list[str]:
        """Names that the view's module reads from forms, addresses or files."""
        return sorted({name for source, name in _read_by(inspect.getmodule(self.view)) if source in sources})

    def takes_files(self) -> bool:
        """Whether the view's module reads files at all."""
        return (
            re.search(r"\buploaded\(|request\.files", inspect.getsource(inspect.getmodule(self.view) or re)) is not None
        )


@cache
def _read_by(module: Any) -> frozenset[tuple[str, str]]:
    return frozenset(_KNOWN.findall(inspect.getsource(module)))


@cache
def skeleton() -> Flask:
    """The application's rules and views, and nothing that answers."""
    bare = Flask("app", static_folder="web/static")
    for blueprint in sorted(_blueprints(), key=lambda one: one.name):
        bare.register_blueprint(blueprint)
    return bare


def _blueprints() -> set[Blueprint]:
    """Every blueprint of the web folder: a door somebody adds is tried without a word here."""
    modules = [module for name, module in sys.modules.items() if name.startswith(app.web.__name__)]
    return {thing for module in modules for thing in vars(module).values() if isinstance(thing, Blueprint)}


def routes() -> list[Route]:
    """Every rule with each of its methods, in the order of addresses; the residents' door has a table of its own."""
    return [route for route in every_route() if not route.endpoint.startswith(RESIDENTS)]


def every_route() -> list[Route]:
    """Those of operators, machines and residents."""
    found = [
        _route(rule, method)
        for rule in skeleton().url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
    return sorted(found, key=lambda route: (route.rule, route.method))


def _route(rule: Rule, method: str) -> Route:
    return Route(rule.rule, method, rule.endpoint, tuple(sorted(rule.arguments)))


def signed_in_only(route: Route) -> bool:
    """For everybody who is signed in, whatever they may do."""
    return route.need == SIGNED_IN
