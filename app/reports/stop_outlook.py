"""What a page must know of an account at zero to say when it will be stopped, or why not: columns for the queries."""

#: Beside the aliases of `room_states.SUPPLY` it needs `sa`, `n` for the property's node, and `:tenant` and `:now`.
OUTLOOK = """
    j.verdict, j.next_at, j.judged_at, j.facts -> 'facts' ->> 'basis' AS judged_basis,
    CAST(j.facts -> 'verdict' ->> 'edge_at' AS timestamptz) AS edge_at,
    sa.usage_class, sa.overdraft_fen_max, mo.guaranteed_supply, mo.control, m.reading_at, pr.time_zone, pr.stops_halted,
    coalesce(p.protected_until >= x.today, false) AS protected,
    EXISTS (SELECT 1 FROM agreements g WHERE g.tenant_id = sa.tenant_id AND g.supply_account_id = sa.id
             AND g.kind = 'zero_stop' AND g.signed_on <= x.today AND (g.ended_on IS NULL OR g.ended_on > x.today)) AS agreed,
    EXISTS (SELECT 1 FROM stop_freezes z WHERE z.tenant_id = :tenant AND z.lifted_at IS NULL) AS frozen,
    (SELECT t.kind = 'demo' FROM tenants t WHERE t.id = :tenant) AS live
"""

OUTLOOK_JOINS = """
    LEFT JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
    LEFT JOIN stop_judgements j ON j.tenant_id = sa.tenant_id AND j.supply_account_id = sa.id
    JOIN properties pr ON pr.tenant_id = n.tenant_id AND pr.id = n.id
    CROSS JOIN LATERAL (SELECT CAST(CAST(:now AS timestamptz) AT TIME ZONE pr.time_zone AS date) AS today) x
"""
