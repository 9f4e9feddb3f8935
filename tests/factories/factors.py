"""People with second factors: an app, a key, recovery codes; and groups that ask for them."""

import json
from typing import Any

from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.permissions.factors import accept, add_passkey, begin_totp, confirm_totp, secret_of
from app.permissions.models import SecurityPolicy, User
from app.permissions.passkeys import RelyingParty, assertion_options, registration_options
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role
from app.permissions.sign_in import Visitor
from app.permissions.steps import new_challenge
from tests.factories.authenticator import ORIGIN, RP_ID, SoftKey, code
from tests.factories.world import World, unique

PASSWORD = "晚霞 over the river"
SEEDER = Actor.system("tests")
PARTY = RelyingParty(ORIGIN, RP_ID)
HERE = Visitor("192.0.2.1", "Chrome · Windows")


def make_person(session: Session, world: World, role: Role = Role.PROPERTY_MANAGER) -> User:
    """Somebody with a role at the world's property."""
    user = create_user(session, login=unique("p"), name="陈静怡", password=PASSWORD, by=SEEDER)
    grant_role(session, user=user, role=role, node_id=world.property_id, by=SEEDER)
    session.flush()
    return user


def give_app(session: Session, user: User, name: str = "手机") -> tuple[str, list[str]]:
    """(secret, recovery codes) of an authenticator app whose first code was one of two steps ago."""
    secret = secret_of(session, begin_totp(session, user=user, name=name))
    codes = confirm_totp(session, user=user, code=code(secret, steps=-1), by=SEEDER)
    return secret, codes


def give_key(session: Session, user: User) -> SoftKey:
    """A passkey of the person's."""
    key, challenge = SoftKey(), new_challenge()
    options = json.loads(registration_options(PARTY, user=user, challenge=challenge, held=[]))
    add_passkey(
        session, user=user, party=PARTY, challenge=challenge, answer=key.create(options), name="钥匙", by=SEEDER
    )
    return key


def show(session: Session, user: User, answer: str, challenge: bytes | None = None) -> str | None:
    """What a person shows, judged."""
    return accept(session, user_id=user.id, answer=answer, challenge=challenge, party=PARTY)


def asked_of(challenge: bytes) -> dict[str, Any]:
    """What a browser is asked to sign."""
    return json.loads(assertion_options(PARTY, challenge=challenge, held=[]))


def require(session: Session, world: World, *, required: bool = True) -> None:
    """Let the group ask for second factors, or not."""
    session.merge(
        SecurityPolicy(
            tenant_id=world.tenant_id, second_factor_required=required, session_hours_max=12, session_idle_min=120,
            approval_hours_max=72, audit_keep_days=180,
        )
    )  # fmt: skip
    session.flush()
