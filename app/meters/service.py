"""Registering meter models, gateways and meters, and the one door to somebody's meter or gateway."""

import hashlib
import re
import secrets
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.crypto import FieldPlace, directory_digest
from app.kernel.db import current_tenant_id, uuid7
from app.kernel.errors import AppError, NotFound
from app.meters.models import Gateway, Meter, MeterModel, Mount
from app.tenants.keys import data_key
from app.tenants.models import DirectoryEntry

#: Level 02 with six zeros: what meters leave the factory with.
PASSWORD_DEFAULT = "02000000"
#: 80 bits.
SECRET_BYTES = 10
_ADDRESS = re.compile(r"\d{12}")
_PASSWORD = re.compile(r"\d{8}")
_GATEWAY_NUMBER = re.compile(r"[0-9A-Za-z-]{1,32}")


class GatewayNumberTaken(AppError):
    """A gateway number names one box in the world, so it can be registered once."""

    code, status = "gateway_number_taken", 409
    message_zh = "网关编号 {number} 已被登记。请核对网关铭牌。"
    message_en = "Gateway number {number} is registered already. Check the plate on the box."


class GatewayNumberUnreadable(AppError):
    """A gateway number is 1–32 letters, digits and hyphens."""

    code, status = "gateway_number_unreadable", 422
    message_zh = "网关编号“{number}”无效。请填写 1–32 位字母、数字或连字符。"
    message_en = "“{number}” is no gateway number. Use 1–32 letters, digits and hyphens."


class GatewaySecretMissing(AppError):
    """A real gateway that dials in must prove who it is: its number is printed on the box for everybody to read."""

    code, status = "gateway_secret_missing", 422
    message_zh = "网关 {number} 主动拨入，必须登记密钥。请填写密钥，并在设备的注册包中写入同一密钥。"
    message_en = (
        "Gateway {number} dials in and must have a secret. Give one and set the same in its registration packet."
    )


class MeterNumberTaken(AppError):
    """Another meter of this group carries the number."""

    code, status = "meter_number_taken", 409
    message_zh = "表号 {number} 已存在。请核对表牌，或换表时使用“换表”。"
    message_en = "Meter number {number} exists already. Check the plate, or use “change meter”."


class MeterAddressTaken(AppError):
    """Two meters on one bus cannot share an address."""

    code, status = "meter_address_taken", 409
    message_zh = "该网关下已有地址为 {address} 的表。请核对通信地址。"
    message_en = "A meter with address {address} already hangs on this gateway. Check the address."


class MeterAddressUnreadable(AppError):
    """A meter address is twelve digits."""

    code, status = "meter_address_unreadable", 422
    message_zh = "通信地址“{address}”无效。请按表牌填写 12 位数字。"
    message_en = "“{address}” is no meter address. Type the 12 digits on the plate."


class MeterPasswordUnreadable(AppError):
    """A meter password is its level (two digits) and six digits."""

    code, status = "meter_password_unreadable", 422
    message_zh = "表密码应为 8 位数字（前两位为权限级别）。"
    message_en = "A meter password is 8 digits, the first two being its level."


def register_model(
    session: Session,
    *,
    name: str,
    dialect: str = "dlt645-2007",
    utility: str = "electricity",
    modulus_wh: int = 1_000_000_000,
    rated_power_w: int = 13_200,
    step_wh: int = 10,
    registers: Sequence[str] = ("total",),
) -> MeterModel:
    """Add a meter model, or find the one of that name. `modulus_wh`: where its register falls to 0."""
    known = session.scalar(select(MeterModel).where(MeterModel.name == name))
    if known is not None:
        return known
    model = MeterModel(
        name=name,
        dialect=dialect,
        utility=utility,
        modulus_wh=modulus_wh,
        rated_power_w=rated_power_w,
        step_wh=step_wh,
        registers=list(registers),
    )
    session.add(model)
    session.flush()  # allow: flush - meters refer to the model's id
    return model


def register_gateway(
    session: Session,
    *,
    property_id: int,
    number: str,
    mode: str = "dial_in",
    host: str | None = None,
    port: int | None = None,
    secret: str | None = None,
    simulated: bool = False,
) -> Gateway:
    """Provision a gateway: from now on it may register. Only the digest of its secret is kept.

    Raises GatewayNumberUnreadable, GatewaySecretMissing for a real one that dials in, GatewayNumberTaken.
    """
    if not _GATEWAY_NUMBER.fullmatch(number):
        raise GatewayNumberUnreadable(number=number)
    if mode == "dial_in" and not secret and not simulated:
        raise GatewaySecretMissing(number=number)
    entry = insert(DirectoryEntry).values(
        digest=directory_digest("gateway", number), kind="gateway", tenant_id=current_tenant_id()
    )
    if session.scalar(entry.on_conflict_do_nothing().returning(DirectoryEntry.tenant_id)) is None:
        raise GatewayNumberTaken(number=number)
    gateway = Gateway(
        property_id=property_id,
        number=number,
        mode=mode,
        host=host,
        port=port,
        secret_digest=hashlib.sha256(secret.encode()).digest() if secret else None,
        simulated=simulated,
    )
    session.add(gateway)
    session.flush()  # allow: flush - meters refer to the gateway's id
    return gateway


def new_secret() -> str:
    """A registration secret nobody can guess: 20 hexadecimal digits, short enough to type into a box on site."""
    return secrets.token_hex(SECRET_BYTES)


def renew_secret(session: Session, *, number: str) -> str:
    """Give a gateway a new secret and return it; only its digest is kept. Raises NotFound."""
    gateway = session.scalar(select(Gateway).where(Gateway.number == number))
    if gateway is None:
        raise NotFound
    secret = new_secret()
    gateway.secret_digest = hashlib.sha256(secret.encode()).digest()
    return secret


def register_meter(
    session: Session,
    *,
    property_id: int,
    model_id: int,
    number: str,
    address: str,
    gateway_id: int | None = None,
    password: str | None = None,
) -> Meter:
    """Add a meter, not yet mounted.

    `address`: 12 digits. `password`: level and six digits, kept encrypted. Raises MeterAddressUnreadable,
    MeterPasswordUnreadable, MeterNumberTaken, MeterAddressTaken.
    """
    _check_texts(address, password)
    _check_free(session, number=number, address=address, gateway_id=gateway_id)
    meter = Meter(
        public_id=uuid7(),
        property_id=property_id,
        model_id=model_id,
        number=number,
        address=address,
        gateway_id=gateway_id,
    )
    if password is not None:
        meter.password_cipher = data_key(session).encrypt(password, password_place(meter))
    session.add(meter)
    session.flush()  # allow: flush - mounts refer to the meter's id
    return meter


def password_place(meter: Meter) -> FieldPlace:
    """Where a meter's password lives, for its ciphertext."""
    return FieldPlace(current_tenant_id(), "meters", "password_cipher", str(meter.public_id))


def password_of(session: Session, *, meter: Meter) -> str:
    """The relay password of a meter in clear: level and six digits. For building a frame, never for a log."""
    if meter.password_cipher is None:
        return PASSWORD_DEFAULT
    return data_key(session).decrypt(meter.password_cipher, password_place(meter))


def access_meter(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> Meter:
    """The meter, where its property is in scope. Raises NotFound."""
    found = session.scalar(select(Meter).where(Meter.public_id == public_id, Meter.property_id.in_(allowed)))
    if found is None:
        raise NotFound
    return found


def access_gateway(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> Gateway:
    """The gateway, where its property is in scope. Raises NotFound."""
    asked = select(Gateway).where(Gateway.public_id == public_id, Gateway.property_id.in_(allowed))
    found = session.scalar(asked)
    if found is None:
        raise NotFound
    return found


def open_mount_of(session: Session, *, meter_id: int) -> Mount | None:
    """Where the meter serves now; None for one in the store room."""
    return session.scalar(select(Mount).where(Mount.meter_id == meter_id, Mount.ended_at.is_(None)))


def _check_texts(address: str, password: str | None) -> None:
    if not _ADDRESS.fullmatch(address):
        raise MeterAddressUnreadable(address=address)
    if password is not None and not _PASSWORD.fullmatch(password):
        raise MeterPasswordUnreadable()


def _check_free(session: Session, *, number: str, address: str, gateway_id: int | None) -> None:
    if session.scalar(select(Meter.id).where(Meter.number == number)) is not None:
        raise MeterNumberTaken(number=number)
    if gateway_id is None:
        return
    same_bus = select(Meter.id).where(Meter.gateway_id == gateway_id, Meter.address == address)
    if session.scalar(same_bus) is not None:
        raise MeterAddressTaken(address=address)
