"""OpenID Connect, the part of it that is said to a provider: discovery, the authorization code flow with PKCE, ID tokens.

    browser --302--> provider's sign-in --302, code + state--> us --code, verifier--> token endpoint --> ID token

Sources: OpenID Connect Core 1.0 (3.1), Discovery 1.0 (4), RFC 7636 (PKCE, S256), RFC 9207 (`iss` in the answer). What is said
goes through the guard of calls to the outside: an issuer is an address that somebody typed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.kernel.outbound import Outbound

#: Signatures that need the provider's private key; never `none`, never a shared secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
CLOCK_SKEW_S = 60
#: `amr` values (RFC 8176) that speak of more than a password.
SECOND_FACTORS = frozenset({"mfa", "otp", "hwk", "swk", "sc", "fpt", "face", "pop"})


class SsoFailed(AppError):
    """The provider's answer cannot be believed, or it refused."""

    code, status = "sso_failed", 401
    message_zh = "企业登录没有完成（{reason}）。请重试；多次失败请联系集团管理员核对企业登录设置。"
    message_en = "Company sign-in did not finish ({reason}). Try again; if it keeps failing, ask your administrator."


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to one provider."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a provider and must come back: kept in the browser, signed, for one answer."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider vouches for, and whether it saw more than a password."""

    subject: str
    second_factor: bool


class _Through:
    """What authlib's client speaks through: the guard of calls to the outside."""

    def __init__(self, door: Outbound | None) -> None:
        self._door = door

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth
    ) -> httpx.Response:
        """The call to the token endpoint, with our secret where the client puts it. Raises AddressForbidden, NoAnswer."""
        if self._door is None:
            raise SsoFailed(reason="code")
        address, signed, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        answer = self._door.send("POST", address, body=body.encode(), headers=signed)
        return httpx.Response(answer.status, content=answer.body, request=httpx.Request("POST", address))


def ask() -> Asked:
    """New random values for one sign-in."""
    return Asked(generate_token(32), generate_token(32), generate_token(64))


def discover(door: Outbound, issuer: str) -> Mapping[str, Any]:
    """What the provider says of itself. Raises AddressForbidden, NoAnswer, SsoFailed."""
    said = _json(door, get_well_known_url(issuer, external=True), "discovery")
    try:
        metadata = OpenIDProviderMetadata(said)
        if metadata.get("issuer") != issuer:
            raise SsoFailed(reason="issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            door.check_url(str(metadata[name]))
    except (KeyError, ValueError, TypeError) as wrong:
        raise SsoFailed(reason="discovery") from wrong
    return cast(Mapping[str, Any], metadata)


def authorization_url(metadata: Mapping[str, Any], client: Client, asked: Asked) -> str:
    """Where to send the browser."""
    url, _ = _client(client, None).create_authorization_url(
        metadata["authorization_endpoint"], state=asked.state, nonce=asked.nonce, code_verifier=asked.verifier
    )
    return cast(str, url)


def vouched(
    door: Outbound, metadata: Mapping[str, Any], client: Client, asked: Asked, answer: Mapping[str, str]
) -> Vouched:
    """Whom the provider's answer speaks of. Raises SsoFailed, AddressForbidden, NoAnswer."""
    if not answer.get("state") or answer["state"] != asked.state:
        raise SsoFailed(reason="state")
    if answer.get("iss", client.issuer) != client.issuer:
        raise SsoFailed(reason="issuer")
    if not answer.get("code"):
        raise SsoFailed(reason="refused")
    try:
        tokens = _client(client, door).fetch_token(
            metadata["token_endpoint"], code=answer["code"], code_verifier=asked.verifier,
            grant_type="authorization_code",
        )  # fmt: skip
    except (AuthlibBaseError, httpx.HTTPError, ValueError, KeyError) as wrong:
        raise SsoFailed(reason="code") from wrong
    return _believe(door, metadata, client, asked, tokens)


def _believe(
    door: Outbound, metadata: Mapping[str, Any], client: Client, asked: Asked, tokens: Mapping[str, Any]
) -> Vouched:
    """The ID token, its signature and every claim looked at (Core 3.1.3.7)."""
    keys = _json(door, str(metadata["jwks_uri"]), "keys")
    try:
        token = jwt.decode(str(tokens["id_token"]), KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        claims = CodeIDToken(
            token.claims,
            token.header,
            options={
                "iss": {"essential": True, "value": client.issuer},
                "aud": {"essential": True, "value": client.client_id},
                "nonce": {"essential": True, "value": asked.nonce},
            },
            params={"nonce": asked.nonce, "client_id": client.client_id, "access_token": tokens.get("access_token")},
        )
        claims.validate(now=int(wall_now().timestamp()), leeway=CLOCK_SKEW_S)
    except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as wrong:
        raise SsoFailed(reason="id_token") from wrong
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise SsoFailed(reason="subject")
    return Vouched(subject, bool(SECOND_FACTORS & {str(one) for one in claims.get("amr") or ()}))


def _client(client: Client, door: Outbound | None) -> OAuth2Client:
    return OAuth2Client(
        _Through(door),
        client.client_id,
        client.client_secret,
        scope="openid",
        redirect_uri=client.redirect_uri,
        code_challenge_method="S256",
    )


def _json(door: Outbound, url: str, what: str) -> dict[str, Any]:
    answer = door.send("GET", url, headers={"accept": "application/json"})
    try:
        said = json.loads(answer.body)
    except ValueError as wrong:
        raise SsoFailed(reason=what) from wrong
    if answer.status != 200 or not isinstance(said, dict):
        raise SsoFailed(reason=what)
    return said
