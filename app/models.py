"""Every table, imported once, so that migrations and structural tests see the whole schema."""

from app.billing import collection_models, emergency_models, giving_models
from app.billing import models as billing
from app.billing.ledger import models as ledger
from app.kernel import outbox, schedule
from app.kernel.db import Base
from app.meters import command_models
from app.meters import models as meters
from app.notify import models as notify
from app.notify import webhook_models
from app.permissions import approval_models, factor_models, resident_models
from app.permissions import models as permissions
from app.tenants import models as tenants

__all__ = [
    "Base",
    "approval_models",
    "billing",
    "collection_models",
    "command_models",
    "emergency_models",
    "factor_models",
    "giving_models",
    "ledger",
    "meters",
    "notify",
    "outbox",
    "permissions",
    "resident_models",
    "schedule",
    "tenants",
    "webhook_models",
]
