"""Buildings, floors and spaces, and the doors through which one property or space is reached."""

import uuid
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.errors import AppError, NotFound
from app.tenants.access import or_not_found, within
from app.tenants.models import Building, Floor, Node, Property, Space

USAGE_CLASSES = ("residential", "commercial", "dormitory", "common")


class NameTaken(AppError):
    """The name is used already in this building or property."""

    code, status = "name_taken", 409
    message_zh = "“{name}”已存在。请换一个名称，或在列表中选用已有的。"
    message_en = "“{name}” exists already. Choose another name, or take the existing one from the list."


class AreaWrong(AppError):
    """A floor area of zero or less."""

    code, status = "area_wrong", 422
    message_zh = "面积必须大于 0。不清楚时请留空。"
    message_en = "A floor area is above 0. Leave it empty when it is not known."


class UsageClassUnknown(AppError):
    """Not one of the four classes that decide when a stop may happen."""

    code, status = "usage_class_unknown", 422
    message_zh = "用途“{usage_class}”不存在。请选择住宅、商业、宿舍或公共。"
    message_en = "There is no class “{usage_class}”. Choose residential, commercial, dormitory or common."


def add_building(session: Session, *, property_id: int, name: str) -> Building:
    """A building of a property. Raises NotFound, NameTaken."""
    if session.scalar(select(Property.id).where(Property.id == property_id)) is None:
        raise NotFound()
    same = select(Building.id).where(Building.property_id == property_id, Building.name == name)
    if session.scalar(same) is not None:
        raise NameTaken(name=name)
    building = Building(property_id=property_id, name=name)
    session.add(building)
    session.flush()  # allow: flush - floors name the building by its id
    return building


def add_floor(session: Session, *, building: Building, level: int, name: str | None = None) -> Floor:
    """A floor of a building; `level` 1 is the ground floor, basements are negative. Raises NameTaken."""
    same = select(Floor.id).where(Floor.building_id == building.id, Floor.level == level)
    if session.scalar(same) is not None:
        raise NameTaken(name=name or floor_name(level))
    floor = Floor(
        property_id=building.property_id, building_id=building.id, level=level, name=name or floor_name(level)
    )
    session.add(floor)
    session.flush()  # allow: flush - spaces name the floor by its id
    return floor


def floor_name(level: int) -> str:
    """What people call a level: `3F`, `B1`."""
    return f"{level}F" if level > 0 else f"B{-level}"


def add_space(session: Session, *, floor: Floor, name: str, usage_class: str, area_cm2: int | None = None) -> Space:
    """What is let or owned.

    Raises UsageClassUnknown, AreaWrong, NameTaken (the door number is unique in its building).
    """
    if usage_class not in USAGE_CLASSES:
        raise UsageClassUnknown(usage_class=usage_class)
    if area_cm2 is not None and area_cm2 <= 0:
        raise AreaWrong()
    same = select(Space.id).where(
        Space.property_id == floor.property_id, Space.building_id == floor.building_id, Space.name == name
    )
    if session.scalar(same) is not None:
        raise NameTaken(name=name)
    space = Space(
        property_id=floor.property_id,
        building_id=floor.building_id,
        floor_id=floor.id,
        name=name,
        usage_class=usage_class,
        area_cm2=area_cm2,
    )
    session.add(space)
    session.flush()  # allow: flush - roles and supply accounts name the space by its id
    return space


def access_property(session: Session, *, property_id: int | uuid.UUID, allowed: Collection[int]) -> Property:
    """The property by its id or its node's public id, if it is within `allowed`. Raises NotFound."""
    query = select(Property).where(within(Property.id, allowed))
    if isinstance(property_id, uuid.UUID):
        query = query.join(Node, (Node.tenant_id == Property.tenant_id) & (Node.id == Property.id))
        query = query.where(Node.public_id == property_id)
    else:
        query = query.where(Property.id == property_id)
    return or_not_found(session.scalar(query))


def access_space(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> Space:
    """The space, if its property is within `allowed`. Raises NotFound."""
    query = select(Space).where(Space.public_id == public_id, within(Space.property_id, allowed))
    return or_not_found(session.scalar(query))
