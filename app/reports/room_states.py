"""The state of a room, defined once in SQL, so that the wall, the overview and the filter can never disagree."""

from app.billing.wallets import AVAILABLE_FEN

#: From most to least pressing; the first that applies is the room's state.
STATES = ("cut_off", "guaranteed", "zero", "alarm_2", "alarm_1", "suspended", "offline", "normal", "vacant")

#: Needs the aliases of SUPPLY below.
STATE = f"""
    CASE WHEN sa.id IS NULL THEN 'vacant'
         WHEN sa.state = 'suspended' THEN 'suspended'
         WHEN st.state IN ('in_force', 'restoring') OR m.relay_state = 'open' THEN 'cut_off'
         WHEN mo.guaranteed_supply THEN 'guaranteed'
         WHEN sa.alarm_level = 3 OR {AVAILABLE_FEN} <= 0 THEN 'zero'
         WHEN sa.alarm_level = 2 THEN 'alarm_2'
         WHEN sa.alarm_level = 1 THEN 'alarm_1'
         WHEN m.id IS NOT NULL AND (NOT m.online OR gw.online IS FALSE) THEN 'offline'
         ELSE 'normal' END
"""

#: From a supply account `sa` to its wallet, mounted meter, gateway and open stop.
SUPPLY = """
    LEFT JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    LEFT JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    LEFT JOIN mounts mo ON mo.tenant_id = sa.tenant_id AND mo.supply_account_id = sa.id AND mo.ended_at IS NULL
    LEFT JOIN meters m ON m.tenant_id = mo.tenant_id AND m.id = mo.meter_id
    LEFT JOIN gateways gw ON gw.tenant_id = m.tenant_id AND gw.id = m.gateway_id
    LEFT JOIN stops st ON st.tenant_id = sa.tenant_id AND st.supply_account_id = sa.id AND st.meter_id = m.id
         AND st.state IN ('ordered', 'in_force', 'restoring')
"""

#: Spaces, let or vacant, with their electricity account; one row per space and account.
ROOMS = f"""
    FROM spaces s
    LEFT JOIN supply_accounts sa ON sa.tenant_id = s.tenant_id AND sa.space_id = s.id AND sa.state <> 'closed'
         AND sa.utility = 'electricity'
    {SUPPLY}
"""

IN_SCOPE = "WHERE s.tenant_id = :tenant AND s.property_id = ANY(:properties)"
