"""Tallyhouse 账房: energy fees, prepaid meters and the books of property groups."""

from flask import Flask

from app.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """The web application: settings, database, guards, blueprints, error pages. Raises SettingMissing."""
    from app.web import install  # the one lazy import: everything below `app` may be used without Flask

    app = Flask(__name__, static_folder="web/static", template_folder="web/templates")
    install(app, settings or Settings.from_env())
    return app
