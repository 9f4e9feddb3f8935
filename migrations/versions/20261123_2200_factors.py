"""Second factors, links, providers, counter PCs, own roles and what a tenant asks of its people.

Revision: 0012
After:    0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_own_roles()
    _create_security_policies()
    _create_user_factors()
    _create_recovery_codes()
    _create_sign_in_steps()
    _create_password_links()
    _create_oidc_providers()
    _create_oidc_identities()
    _create_counter_pcs()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("counter_pcs")
    op.drop_table("oidc_identities")
    op.drop_table("oidc_providers")
    op.drop_table("password_links")
    op.drop_table("sign_in_steps")
    op.drop_table("recovery_codes")
    op.drop_table("user_factors")
    op.drop_table("security_policies")
    op.drop_table("own_roles")


def _create_own_roles() -> None:
    op.create_table(
        "own_roles",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("based_on", sa.String(length=40), nullable=False),
        sa.Column("permissions", postgresql.JSONB(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_own_roles")),
        sa.UniqueConstraint("tenant_id", "code", name=op.f("uq_own_roles_code")),
    )
    protect("own_roles")


def _create_security_policies() -> None:
    op.create_table(
        "security_policies",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("second_factor_required", sa.Boolean(), nullable=False),
        sa.Column("session_hours_max", sa.BigInteger(), nullable=False),
        sa.Column("session_idle_min", sa.BigInteger(), nullable=False),
        sa.Column("approval_hours_max", sa.BigInteger(), nullable=False),
        sa.Column("audit_keep_days", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "approval_hours_max BETWEEN 1 AND 720", name=op.f("ck_security_policies_approval_hours_sane")
        ),
        sa.CheckConstraint("audit_keep_days >= 180", name=op.f("ck_security_policies_audit_kept_half_a_year")),
        sa.CheckConstraint("session_hours_max BETWEEN 1 AND 24", name=op.f("ck_security_policies_session_hours_sane")),
        sa.CheckConstraint("session_idle_min BETWEEN 5 AND 480", name=op.f("ck_security_policies_session_idle_sane")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_security_policies")),
    )
    protect("security_policies")


def _create_user_factors() -> None:
    op.create_table(
        "user_factors",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("secret_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("credential_id", sa.LargeBinary(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("sign_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('totp', 'passkey')", name=op.f("ck_user_factors_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_user_factors_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_user_factors")),
        sa.UniqueConstraint("tenant_id", "credential_id", name=op.f("uq_user_factors_credential_id")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_user_factors_public_id")),
    )
    op.create_index("ix_user_factors_user", "user_factors", ["tenant_id", "user_id"], unique=False)
    protect("user_factors")


def _create_recovery_codes() -> None:
    op.create_table(
        "recovery_codes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_recovery_codes_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("tenant_id", "user_id", "digest", name=op.f("uq_recovery_codes_digest")),
    )
    protect("recovery_codes")


def _create_sign_in_steps() -> None:
    op.create_table(
        "sign_in_steps",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=True),
        sa.Column("facts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('second_factor', 'enrol', 'passkey', 'step_up')",
            name=op.f("ck_sign_in_steps_purpose_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_sign_in_steps_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_sign_in_steps")),
    )
    op.create_index("ix_sign_in_steps_expires", "sign_in_steps", ["tenant_id", "expires_at"], unique=False)
    protect("sign_in_steps")


def _create_password_links() -> None:
    op.create_table(
        "password_links",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(length=60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_password_links_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_password_links")),
    )
    op.create_index("ix_password_links_user", "password_links", ["tenant_id", "user_id"], unique=False)
    protect("password_links")


def _create_oidc_providers() -> None:
    op.create_table(
        "oidc_providers",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("issuer", sa.String(length=300), nullable=False),
        sa.Column("client_id", sa.String(length=200), nullable=False),
        sa.Column("client_secret_cipher", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oidc_providers")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_oidc_providers_public_id")),
        sa.UniqueConstraint("tenant_id", "slug", name=op.f("uq_oidc_providers_slug")),
    )
    protect("oidc_providers")


def _create_oidc_identities() -> None:
    op.create_table(
        "oidc_identities",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "provider_id"],
            ["oidc_providers.tenant_id", "oidc_providers.id"],
            name=op.f("fk_oidc_identities_provider"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_oidc_identities_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oidc_identities")),
        sa.UniqueConstraint("tenant_id", "provider_id", "subject", name=op.f("uq_oidc_identities_subject")),
    )
    protect("oidc_identities")


def _create_counter_pcs() -> None:
    op.create_table(
        "counter_pcs",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("registered_by", sa.String(length=60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_counter_pcs_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_counter_pcs")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_counter_pcs_digest")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_counter_pcs_public_id")),
    )
    protect("counter_pcs")
