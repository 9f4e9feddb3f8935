"""Tenants, the directory, the organisation tree, places and parties.

Revision: 0001
After:    nothing
"""

import sqlalchemy as sa
from alembic import op

from migrations.rls import protect, share

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_directory()
    _create_legal_entities()
    _create_nodes()
    _create_tenants()
    _create_properties()
    _create_buildings()
    _create_parties()
    _create_floors()
    _create_spaces()
    _create_party_roles()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("party_roles")
    op.drop_table("spaces")
    op.drop_table("floors")
    op.drop_table("parties")
    op.drop_table("buildings")
    op.drop_table("properties")
    op.drop_table("tenants")
    op.drop_table("nodes")
    op.drop_table("legal_entities")
    op.drop_table("directory")


def _create_directory() -> None:
    op.create_table(
        "directory",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_directory")),
    )
    share("directory", grants="SELECT, INSERT, DELETE")


def _create_legal_entities() -> None:
    op.create_table(
        "legal_entities",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("tax_number", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_legal_entities")),
        sa.UniqueConstraint("tenant_id", "tax_number", name=op.f("uq_legal_entities_tax_number")),
    )
    protect("legal_entities")


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.CheckConstraint(
            "(kind = 'headquarters') = (parent_id IS NULL)", name=op.f("ck_nodes_only_headquarters_is_root")
        ),
        sa.CheckConstraint("kind IN ('headquarters', 'region', 'property')", name=op.f("ck_nodes_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_nodes_parent")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_nodes_public_id")),
    )
    op.create_index("ix_nodes_parent", "nodes", ["tenant_id", "parent_id"], unique=False)
    op.create_index(
        "one_headquarters", "nodes", ["tenant_id"], unique=True, postgresql_where=sa.text("parent_id IS NULL")
    )
    protect("nodes")


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=8), server_default="real", nullable=False),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('real', 'demo')", name=op.f("ck_tenants_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    share("tenants", grants="SELECT, INSERT, UPDATE")


def _create_properties() -> None:
    op.create_table(
        "properties",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("legal_entity_id", sa.BigInteger(), nullable=False),
        sa.Column("time_zone", sa.String(length=40), server_default="Asia/Shanghai", nullable=False),
        sa.Column("stops_halted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("stops_halted_reason", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id", "id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_properties_node")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "legal_entity_id"],
            ["legal_entities.tenant_id", "legal_entities.id"],
            name=op.f("fk_properties_legal_entity"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_properties")),
    )
    protect("properties")


def _create_buildings() -> None:
    op.create_table(
        "buildings",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_buildings_property")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_buildings")),
        sa.UniqueConstraint("tenant_id", "property_id", "name", name=op.f("uq_buildings_name")),
    )
    protect("buildings")


def _create_parties() -> None:
    op.create_table(
        "parties",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), server_default="person", nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("phone_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("phone_blind", sa.LargeBinary(), nullable=True),
        sa.Column("phone_last4_blind", sa.LargeBinary(), nullable=True),
        sa.Column("id_number_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("id_number_blind", sa.LargeBinary(), nullable=True),
        sa.Column("bank_account_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("protected_until", sa.Date(), nullable=True),
        sa.CheckConstraint("kind IN ('person', 'company')", name=op.f("ck_parties_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_parties_property")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_parties")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_parties_public_id")),
    )
    op.create_index("ix_parties_name", "parties", ["tenant_id", "property_id", "name"], unique=False)
    op.create_index("ix_parties_phone_blind", "parties", ["tenant_id", "property_id", "phone_blind"], unique=False)
    op.create_index(
        "ix_parties_phone_last4_blind", "parties", ["tenant_id", "property_id", "phone_last4_blind"], unique=False
    )
    protect("parties")


def _create_floors() -> None:
    op.create_table(
        "floors",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("building_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=30), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "building_id"], ["buildings.tenant_id", "buildings.id"], name=op.f("fk_floors_building")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_floors")),
        sa.UniqueConstraint("tenant_id", "building_id", "level", name=op.f("uq_floors_level")),
    )
    protect("floors")


def _create_spaces() -> None:
    op.create_table(
        "spaces",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("building_id", sa.BigInteger(), nullable=False),
        sa.Column("floor_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("usage_class", sa.String(length=16), nullable=False),
        sa.Column("area_cm2", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "usage_class IN ('residential', 'commercial', 'dormitory', 'common')",
            name=op.f("ck_spaces_usage_class_known"),
        ),
        sa.CheckConstraint("area_cm2 IS NULL OR area_cm2 > 0", name=op.f("ck_spaces_area_positive")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "building_id"], ["buildings.tenant_id", "buildings.id"], name=op.f("fk_spaces_building")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "floor_id"], ["floors.tenant_id", "floors.id"], name=op.f("fk_spaces_floor")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_spaces_property")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_spaces")),
        sa.UniqueConstraint("tenant_id", "property_id", "building_id", "name", name=op.f("uq_spaces_name")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_spaces_public_id")),
    )
    protect("spaces")


def _create_party_roles() -> None:
    op.create_table(
        "party_roles",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("party_id", sa.BigInteger(), nullable=False),
        sa.Column("space_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(length=12), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "role IN ('owner', 'occupant', 'payer', 'contract')", name=op.f("ck_party_roles_role_known")
        ),
        sa.CheckConstraint("ended_on IS NULL OR ended_on >= began_on", name=op.f("ck_party_roles_ends_after_begin")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name=op.f("fk_party_roles_party")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name=op.f("fk_party_roles_space")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_party_roles")),
    )
    op.create_index("ix_party_roles_space", "party_roles", ["tenant_id", "space_id"], unique=False)
    op.create_index(
        "one_open_role",
        "party_roles",
        ["tenant_id", "space_id", "party_id", "role"],
        unique=True,
        postgresql_where=sa.text("ended_on IS NULL"),
    )
    protect("party_roles")
