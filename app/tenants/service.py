"""Tenants, their tree, their legal entities and properties, and the switch that halts all stops of a
property.
"""

from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import Database, acting_for, bind_transaction
from app.kernel.errors import AppError, NotFound
from app.tenants import audit
from app.tenants.keys import key_store
from app.tenants.models import LegalEntity, Node, Property, Tenant


class ParentIsProperty(AppError):
    """A property is a leaf: nothing hangs below it in the organisation tree."""

    code, status = "parent_is_property", 422
    message_zh = "项目下不能再建组织节点。请选择集团总部或区域作为上级。"
    message_en = "Nothing can be put below a property. Choose headquarters or a region as its parent."


class TaxNumberTaken(AppError):
    """The tenant has a legal entity with this tax number already."""

    code, status = "tax_number_taken", 409
    message_zh = "该税号的核算主体已存在。请在列表中选用，或核对税号。"
    message_en = "A legal entity with this tax number exists already. Choose it from the list, or check the number."


class ReasonMissing(AppError):
    """A deed that others will ask about needs its reason in words."""

    code, status = "reason_missing", 422
    message_zh = "请填写原因（至少 2 个字），以便日后查证。"
    message_en = "Give a reason (at least two characters), so that it can be understood later."


@dataclass(frozen=True, slots=True)
class NewTenant:
    """Ids of what a new tenant starts with."""

    tenant_id: int
    headquarters_id: int
    legal_entity_id: int


def create_tenant(db: Database, *, name: str, legal_entity_name: str, tax_number: str, kind: str = "real") -> NewTenant:
    """Make a tenant with its data key, its headquarters and its first legal entity, in one transaction of its
    own.
    """
    with db.without_tenant() as connection:
        made = insert(Tenant).values(name=name, kind=kind, data_key=b"", created_at=business_now()).returning(Tenant.id)
        tenant_id: int = connection.scalars(made).one()
        wrapped = key_store().new_data_key(tenant_id)
        connection.execute(update(Tenant).where(Tenant.id == tenant_id).values(data_key=wrapped))
        with acting_for(tenant_id):
            bind_transaction(connection)
            headquarters_id = connection.scalars(
                insert(Node).values(kind="headquarters", name=name).returning(Node.id)
            ).one()
            legal_entity_id = connection.scalars(
                insert(LegalEntity).values(name=legal_entity_name, tax_number=tax_number).returning(LegalEntity.id)
            ).one()
    return NewTenant(tenant_id, headquarters_id, legal_entity_id)


def add_legal_entity(session: Session, *, name: str, tax_number: str) -> LegalEntity:
    """A further owner of books. Raises TaxNumberTaken."""
    if session.scalar(select(LegalEntity.id).where(LegalEntity.tax_number == tax_number)) is not None:
        raise TaxNumberTaken()
    entity = LegalEntity(name=name, tax_number=tax_number)
    session.add(entity)
    session.flush()  # allow: flush - callers name the entity by its id
    return entity


def add_region(session: Session, *, parent_id: int, name: str) -> Node:
    """A region below headquarters or another region. Raises NotFound, ParentIsProperty."""
    return _add_node(session, parent_id=parent_id, kind="region", name=name)


def add_property(
    session: Session, *, parent_id: int, name: str, legal_entity_id: int, time_zone: str = "Asia/Shanghai"
) -> Property:
    """A managed site: its node and its row share one id. Raises NotFound, ParentIsProperty."""
    if session.scalar(select(LegalEntity.id).where(LegalEntity.id == legal_entity_id)) is None:
        raise NotFound()
    node = _add_node(session, parent_id=parent_id, kind="property", name=name)
    site = Property(id=node.id, legal_entity_id=legal_entity_id, time_zone=time_zone)
    session.add(site)
    session.flush()  # allow: flush - books and buildings name the property by its id
    return site


def _add_node(session: Session, *, parent_id: int, kind: str, name: str) -> Node:
    parent = session.scalar(select(Node).where(Node.id == parent_id))
    if parent is None:
        raise NotFound()
    if parent.kind == "property":
        raise ParentIsProperty()
    node = Node(parent_id=parent_id, kind=kind, name=name)
    session.add(node)
    session.flush()  # allow: flush - the property row takes the node's id
    return node


def halt_stops(session: Session, *, property_id: int, reason: str, by: Actor) -> None:
    """Throw the kill switch: no trip leaves for this property until it is resumed.

    Raises NotFound, ReasonMissing.
    """
    if len(reason.strip()) < 2:
        raise ReasonMissing()
    _switch(session, property_id=property_id, halted=True, reason=f"{reason.strip()}（{by.name or by}）"[:200])
    _note_switch(session, property_id=property_id, deed="stop:switch:halt", by=by, reason=reason.strip())


def resume_stops(session: Session, *, property_id: int, by: Actor) -> None:
    """Release the kill switch: from now on the gate decides again. Raises NotFound."""
    _switch(session, property_id=property_id, halted=False, reason=None)
    _note_switch(session, property_id=property_id, deed="stop:switch:resume", by=by, reason=None)


def _switch(session: Session, *, property_id: int, halted: bool, reason: str | None) -> None:
    site = session.scalar(select(Property).where(Property.id == property_id).with_for_update(key_share=True))
    if site is None:
        raise NotFound()
    site.stops_halted, site.stops_halted_reason = halted, reason


def _note_switch(session: Session, *, property_id: int, deed: str, by: Actor, reason: str | None) -> None:
    audit.record(
        session,
        deed=deed,
        subject=f"properties:{property_id}",
        actor=by,
        property_id=property_id,
        facts={"reason": reason},
    )
