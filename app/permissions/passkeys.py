"""Passkeys: WebAuthn Level 2 registrations and assertions, bound to the one address this installation has.

Origin and relying party come from the setting PUBLIC_URL and never from a request. A person's handle in the authenticator
is the tenant's number and the user's public id: opaque, and enough to find the tenant when somebody signs in with a
passkey alone.
"""

import ipaddress
import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.permissions.factor_models import UserFactor
from app.permissions.models import User

ANSWER_LENGTH_MAX = 16_384
CREDENTIAL_BYTES_MAX = 1_023
TENANT_BYTES = 4

#: What the library raises for bytes it cannot read; they are a stranger's, so none of them is a failure of ours.
UNREADABLE = (WebAuthnException, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


class PasskeyRefused(AppError):
    """A new passkey that was made for another address, another question, or that nobody can read."""

    code, status = "passkey_refused", 422
    message_zh = "通行密钥登记没有通过验证。请重新点击“添加通行密钥”，并在本网站地址下操作。"
    message_en = "The passkey was not accepted. Choose “Add a passkey” again, at this site's own address."


class PasskeyHeld(AppError):
    """This authenticator is registered already."""

    code, status = "passkey_held", 409
    message_zh = "这把通行密钥已经登记过。请换一个设备，或直接使用它。"
    message_en = "This passkey is registered already. Use another device, or simply use it."


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whom a passkey is made for."""

    origin: str
    rp_id: str


def relying_party(public_url: str) -> RelyingParty | None:
    """The relying party of an address; None where browsers make no passkeys: for numbers, and without TLS but here."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if not host or is_number(host) or (parts.scheme != "https" and host != "localhost"):
        return None
    return RelyingParty(f"{parts.scheme}://{parts.netloc}".rstrip("/"), host)


def registration_options(party: RelyingParty, *, user: User, challenge: bytes, held: list[UserFactor]) -> str:
    """What `navigator.credentials.create` is asked, as JSON."""
    return options_to_json(
        generate_registration_options(
            rp_id=party.rp_id,
            rp_name="Tallyhouse 账房",
            user_id=user_handle(user),
            user_name=user.login,
            user_display_name=user.name,
            challenge=challenge,
            exclude_credentials=_descriptors(held),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.PREFERRED,
            ),
        )
    )


def assertion_options(party: RelyingParty, *, challenge: bytes, held: list[UserFactor], alone: bool = False) -> str:
    """What `navigator.credentials.get` is asked, as JSON; alone it must prove who holds it, too."""
    wanted = UserVerificationRequirement.REQUIRED if alone else UserVerificationRequirement.PREFERRED
    options = generate_authentication_options(
        rp_id=party.rp_id, challenge=challenge, allow_credentials=_descriptors(held), user_verification=wanted
    )
    return options_to_json(options)


def register(
    session: Session, *, party: RelyingParty, user: User, challenge: bytes, answer: str, name: str
) -> UserFactor:
    """Keep a new passkey. Raises PasskeyRefused, PasskeyHeld."""
    try:
        made = verify_registration_response(
            credential=_readable(answer),
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
        )
    except UNREADABLE as refused:
        raise PasskeyRefused() from refused
    if not 0 < len(made.credential_id) <= CREDENTIAL_BYTES_MAX:
        raise PasskeyRefused()
    factor = UserFactor(
        user_id=user.id,
        kind="passkey",
        name=name,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        created_at=wall_now(),
        confirmed_at=wall_now(),
    )
    try:
        with session.begin_nested():
            session.add(factor)
    except IntegrityError as held:
        raise PasskeyHeld() from held
    return factor


def check_assertion(
    session: Session, *, party: RelyingParty, user_id: int, challenge: bytes, answer: str, alone: bool = False
) -> UserFactor | None:
    """The person's passkey that signed this challenge; None for every other answer. A counter that fell back is refused."""
    try:
        said = _readable(answer)
        credential_id = base64url_to_bytes(str(said["rawId"]))
    except UNREADABLE:
        return None
    query = select(UserFactor).where(
        UserFactor.user_id == user_id,
        UserFactor.kind == "passkey",
        UserFactor.credential_id == credential_id,
        UserFactor.removed_at.is_(None),
        UserFactor.confirmed_at.is_not(None),
    )
    factor = session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if factor is None or factor.public_key is None:
        return None
    try:
        proved = verify_authentication_response(
            credential=said,
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
            credential_public_key=factor.public_key,
            credential_current_sign_count=factor.sign_count,
            require_user_verification=alone,
        )
    except UNREADABLE:
        return None
    factor.sign_count, factor.last_used_at = proved.new_sign_count, wall_now()
    return factor


def user_handle(user: User) -> bytes:
    """Tenant's number and user's public id, 20 bytes."""
    return user.tenant_id.to_bytes(TENANT_BYTES, "big") + user.public_id.bytes


def holder_of(answer: str) -> tuple[int, uuid.UUID] | None:
    """(tenant id, user's public id) that an assertion claims to be of: to be believed only once its signature is proved."""
    try:
        raw = base64url_to_bytes(str(_readable(answer)["response"]["userHandle"]))
        return int.from_bytes(raw[:TENANT_BYTES], "big"), uuid.UUID(bytes=raw[TENANT_BYTES:])
    except UNREADABLE:
        return None


def _readable(answer: str) -> dict[str, Any]:
    if len(answer) > ANSWER_LENGTH_MAX:
        raise ValueError("too long")
    said = json.loads(answer)
    if not isinstance(said, dict):
        raise TypeError("not an object")
    return said


def _descriptors(held: list[UserFactor]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=factor.credential_id) for factor in held if factor.credential_id]


def is_number(host: str) -> bool:
    """Whether a host, with or without its port, is an address in numbers and no name."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host
    name = name.partition(":")[0] if name.count(":") == 1 else name
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
