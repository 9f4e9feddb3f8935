"""The web shell: pages for operators, the API for machines. It holds no rules."""

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app.jobs import table
from app.jobs.transport import Transport
from app.kernel.clock import use_clock_file
from app.kernel.db import open_database
from app.kernel.logs import install_logs
from app.kernel.outbox import send_hints_to
from app.meters import wake
from app.settings import Settings
from app.tenants.audit_keys import use_audit_keys
from app.tenants.keys import store_of, use_key_store
from app.web.api.openapi import blueprint as readings
from app.web.api.sms import blueprint as sms
from app.web.audit_words import install_audit_words
from app.web.bodies import install_bodies
from app.web.console import console
from app.web.console.evidence import install_evidence
from app.web.faults import install_faults
from app.web.frame import install_frame
from app.web.guards import install_guards
from app.web.limits import install_limits
from app.web.operators import install_operators
from app.web.refusals import install_refusals
from app.web.resident import resident
from app.web.vocabulary import install_vocabulary
from app.web.words import install_words

#: Blueprints of machines: no session, no CSRF; each checks a signature or a token of its own.
MACHINES = (readings, sms)


def install(app: Flask, settings: Settings) -> None:
    """Put everything a request needs on the application."""
    install_logs(settings.log_level)
    open_database(settings.database_url, pool_max=int(settings.database_pool_max), pooler=settings.database_pooler)
    use_clock_file(settings.clock_file)
    use_audit_keys(settings.audit_key, settings.audit_keys_old)
    use_key_store(store_of(settings))
    table.install()
    send_hints_to(Transport(settings.redis_url).hint)
    wake.use_redis(settings.redis_url)
    app.config["SETTINGS"] = settings
    app.config["OWN_GUARDS"] = frozenset(blueprint.name for blueprint in (*MACHINES, resident))
    _believe_proxies(app, int(settings.trusted_proxies))
    install_limits(app, settings)
    install_bodies(app)
    install_refusals(app)
    install_guards(app, settings)
    install_operators(app)
    install_words(app)
    install_vocabulary(app)
    install_evidence(app)
    install_audit_words(app)
    install_faults(app)
    install_frame(app)
    app.register_blueprint(console)
    for blueprint in (resident, *MACHINES):
        app.register_blueprint(blueprint)


def _believe_proxies(app: Flask, hops: int) -> None:
    """Take a visitor's address and scheme from the proxies in front; never the host, which we judge ourselves."""
    if hops > 0:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
