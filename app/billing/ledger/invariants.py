"""`inv()`: what must always be true of money, as SQL that returns the rows where it is not.

Run after every test that touches money, by `tallyhouse ledger verify`, and every night. Numbers in the names follow the
list in docs/ARCHITECTURE.md. Each query takes `:tenant` and returns one text column per violation.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.db import current_tenant_id

#: Name → SQL returning one line of detail for each violation.
INVARIANTS: dict[str, str] = {
    "i01_entries_have_postings": """
        SELECT 'entry ' || e.id || ' has no posting' FROM ledger_entries e
         WHERE e.tenant_id = :tenant AND NOT EXISTS (SELECT 1 FROM ledger_postings p
               WHERE p.tenant_id = e.tenant_id AND p.entry_id = e.id)
    """,
    "i01_debits_equal_credits_per_book": """
        SELECT 'book ' || book_id || ' is off by ' || sum(signed)::text FROM (
            SELECT a.book_id, p.amount_fen AS signed FROM ledger_postings p
              JOIN ledger_accounts a ON a.tenant_id = p.tenant_id AND a.id = p.debit_account_id WHERE p.tenant_id = :tenant
            UNION ALL SELECT a.book_id, -p.amount_fen FROM ledger_postings p
              JOIN ledger_accounts a ON a.tenant_id = p.tenant_id AND a.id = p.credit_account_id
             WHERE p.tenant_id = :tenant) legs
         GROUP BY book_id HAVING sum(signed) <> 0
    """,
    "i01_entry_and_legs_share_book_and_currency": """
        SELECT 'entry ' || p.entry_id || ' line ' || p.line_no || ' leaves its book or currency' FROM ledger_postings p
          LEFT JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
          LEFT JOIN ledger_accounts d ON d.tenant_id = p.tenant_id AND d.id = p.debit_account_id
          LEFT JOIN ledger_accounts c ON c.tenant_id = p.tenant_id AND c.id = p.credit_account_id
         WHERE p.tenant_id = :tenant AND ((e.book_id, e.currency) IS DISTINCT FROM (p.book_id, p.currency)
            OR (d.book_id, d.currency) IS DISTINCT FROM (p.book_id, p.currency)
            OR (c.book_id, c.currency) IS DISTINCT FROM (p.book_id, p.currency))
    """,
    "i01_amounts_are_positive_between_two_accounts": """
        SELECT 'entry ' || entry_id || ' line ' || line_no || ' moves ' || amount_fen FROM ledger_postings
         WHERE tenant_id = :tenant AND (amount_fen <= 0 OR debit_account_id = credit_account_id)
    """,
    "i02_kept_accounts_have_a_balance_and_others_none": """
        SELECT 'account ' || a.id || CASE WHEN a.keeps_balance THEN ' keeps no balance' ELSE ' keeps a balance' END
          FROM ledger_accounts a LEFT JOIN ledger_balances b ON b.tenant_id = a.tenant_id AND b.account_id = a.id
         WHERE a.tenant_id = :tenant AND a.keeps_balance <> (b.account_id IS NOT NULL)
    """,
    "i02_folds_hold_no_more_than_was_posted": """
        SELECT 'account ' || f.account_id || ' on ' || f.booked_on || ': more folded than posted' FROM ledger_day_folds f
          LEFT JOIN (SELECT account_id, booked_on, sum(debit_fen) AS debit_fen, sum(credit_fen) AS credit_fen FROM (
                SELECT p.debit_account_id AS account_id, e.booked_on, p.amount_fen AS debit_fen, 0 AS credit_fen
                  FROM ledger_postings p JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
                 WHERE p.tenant_id = :tenant AND p.debit_version IS NULL
                UNION ALL SELECT p.credit_account_id, e.booked_on, 0, p.amount_fen
                  FROM ledger_postings p JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
                 WHERE p.tenant_id = :tenant AND p.credit_version IS NULL) legs GROUP BY account_id, booked_on) s
            ON s.account_id = f.account_id AND s.booked_on = f.booked_on
         WHERE f.tenant_id = :tenant
           AND (f.debit_fen > coalesce(s.debit_fen, 0) OR f.credit_fen > coalesce(s.credit_fen, 0))
    """,
    "i02_balance_is_sum_of_postings": """
        SELECT 'account ' || a.id || ': kept ' || b.balance_fen || ', postings ' || coalesce(s.total, 0)
          FROM ledger_balances b JOIN ledger_accounts a ON a.tenant_id = b.tenant_id AND a.id = b.account_id
          LEFT JOIN (SELECT account_id, sum(signed) AS total FROM (
                SELECT p.debit_account_id AS account_id, -p.amount_fen AS signed FROM ledger_postings p
                 WHERE p.tenant_id = :tenant AND p.debit_version IS NOT NULL
                UNION ALL SELECT p.credit_account_id, p.amount_fen FROM ledger_postings p
                 WHERE p.tenant_id = :tenant AND p.credit_version IS NOT NULL) legs GROUP BY account_id) s
            ON s.account_id = a.id
         WHERE b.tenant_id = :tenant
           AND b.balance_fen <> CASE WHEN a.side = 'credit' THEN coalesce(s.total, 0) ELSE -coalesce(s.total, 0) END
    """,
    "i03_versions_gapless_and_running": """
        SELECT 'account ' || account_id || ' version ' || version || ' follows ' || coalesce(last_version::text, 'none')
          FROM (SELECT l.*, lag(version) OVER w AS last_version, lag(balance) OVER w AS last_balance,
                       CASE WHEN (a.side = 'debit') = l.on_debit THEN amount_fen ELSE -amount_fen END AS change
                  FROM (SELECT tenant_id, debit_account_id AS account_id, debit_version AS version,
                               debit_balance_fen AS balance, amount_fen, true AS on_debit
                          FROM ledger_postings WHERE tenant_id = :tenant AND debit_version IS NOT NULL
                        UNION ALL
                        SELECT tenant_id, credit_account_id, credit_version, credit_balance_fen, amount_fen, false
                          FROM ledger_postings WHERE tenant_id = :tenant AND credit_version IS NOT NULL) l
                  JOIN ledger_accounts a ON a.tenant_id = l.tenant_id AND a.id = l.account_id
                WINDOW w AS (PARTITION BY account_id ORDER BY version)) runs
         WHERE version <> coalesce(last_version, 0) + 1 OR balance <> coalesce(last_balance, 0) + change
    """,
    "i03_version_counts_postings": """
        SELECT 'account ' || b.account_id || ': version ' || b.version || ', postings ' || count(l.account_id)
          FROM ledger_balances b LEFT JOIN (
                SELECT debit_account_id AS account_id FROM ledger_postings
                 WHERE tenant_id = :tenant AND debit_version IS NOT NULL
                UNION ALL SELECT credit_account_id FROM ledger_postings
                 WHERE tenant_id = :tenant AND credit_version IS NOT NULL) l ON l.account_id = b.account_id
         WHERE b.tenant_id = :tenant GROUP BY b.account_id, b.version HAVING count(l.account_id) <> b.version
    """,
    "i03_every_leg_of_a_kept_account_is_versioned": """
        SELECT 'entry ' || p.entry_id || ' line ' || p.line_no || ': a version where none is kept, or none where one is'
          FROM ledger_postings p
          JOIN ledger_accounts d ON d.tenant_id = p.tenant_id AND d.id = p.debit_account_id
          JOIN ledger_accounts c ON c.tenant_id = p.tenant_id AND c.id = p.credit_account_id
         WHERE p.tenant_id = :tenant
           AND (d.keeps_balance <> (p.debit_version IS NOT NULL AND p.debit_balance_fen IS NOT NULL)
             OR c.keeps_balance <> (p.credit_version IS NOT NULL AND p.credit_balance_fen IS NOT NULL))
    """,
    "i04_history_is_granted_to_nobody": """
        SELECT c.relname || ': ' || g.privilege_type || ' is granted' FROM pg_class c, aclexplode(c.relacl) g
         WHERE c.relnamespace = current_schema()::regnamespace AND g.grantee <> c.relowner AND :tenant IS NOT NULL
           AND c.relname IN ('ledger_entries', 'ledger_postings', 'audit_records', 'seal_blocks', 'sealed_records')
           AND g.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')
    """,
    "i05_payment_is_one_entry": """
        SELECT 'payment ' || y.id || ' differs from entry ' || y.entry_id FROM payments y
         WHERE y.tenant_id = :tenant AND y.amount_fen <> coalesce((SELECT sum(p.amount_fen) FROM ledger_postings p
               WHERE p.tenant_id = y.tenant_id AND p.entry_id = y.entry_id), 0)
    """,
    "i05_top_up_entry_is_one_payment": """
        SELECT 'entry ' || e.id || ' has no payment' FROM ledger_entries e
         WHERE e.tenant_id = :tenant AND e.kind = 'top_up' AND NOT EXISTS (SELECT 1 FROM payments y
               WHERE y.tenant_id = e.tenant_id AND y.entry_id = e.id)
    """,
    "i05_payment_credits_its_own_wallet": """
        SELECT 'payment ' || y.id || ' did not credit the wallet of supply account ' || y.supply_account_id
          FROM payments y WHERE y.tenant_id = :tenant AND NOT EXISTS (
                SELECT 1 FROM ledger_postings p JOIN ledger_accounts a
                    ON a.tenant_id = p.tenant_id AND a.id = p.credit_account_id AND a.code = 'wallet'
                 WHERE p.tenant_id = y.tenant_id AND p.entry_id = y.entry_id
                   AND a.supply_account_id = y.supply_account_id AND p.amount_fen = y.amount_fen)
    """,
    "i05_receipt_says_what_was_paid": """
        SELECT 'receipt ' || r.id || ' says ' || coalesce(r.content ->> 'amount_fen', 'nothing') || ', paid ' || y.amount_fen
          FROM receipts r JOIN payments y ON y.tenant_id = r.tenant_id AND y.id = r.payment_id
         WHERE r.tenant_id = :tenant AND (r.content ->> 'amount_fen') IS DISTINCT FROM y.amount_fen::text
    """,
    "i05_payment_has_one_receipt": """
        SELECT 'payment ' || y.id || ' has ' || count(r.id) || ' receipts' FROM payments y
          LEFT JOIN receipts r ON r.tenant_id = y.tenant_id AND r.payment_id = y.id
         WHERE y.tenant_id = :tenant GROUP BY y.id HAVING count(r.id) <> 1
    """,
    "i05_receipt_numbers_gapless": """
        SELECT 'till ' || r.till || ': ' || count(*) || ' receipts, last number ' || coalesce(s.last_no::text, 'none')
          FROM receipts r LEFT JOIN number_series s
            ON s.tenant_id = r.tenant_id AND s.book_id = r.book_id AND s.till = r.till
         WHERE r.tenant_id = :tenant GROUP BY r.book_id, r.till, s.last_no
        HAVING count(*) IS DISTINCT FROM s.last_no OR max(r.number) <> s.last_no OR min(r.number) <> 1
    """,
    "i06_reversal_mirrors_its_entry": """
        SELECT 'entry ' || e.id || ' does not mirror ' || e.reverses_id FROM ledger_entries e
         WHERE e.tenant_id = :tenant AND e.reverses_id IS NOT NULL AND (EXISTS (
            (SELECT debit_account_id, credit_account_id, amount_fen FROM ledger_postings
              WHERE tenant_id = :tenant AND entry_id = e.id)
            EXCEPT ALL
            (SELECT credit_account_id, debit_account_id, amount_fen FROM ledger_postings
              WHERE tenant_id = :tenant AND entry_id = e.reverses_id))
          OR (SELECT count(*) FROM ledger_postings WHERE tenant_id = :tenant AND entry_id = e.id)
             <> (SELECT count(*) FROM ledger_postings WHERE tenant_id = :tenant AND entry_id = e.reverses_id))
    """,
    "i06_originals_are_reversed_once_and_reversals_never": """
        SELECT 'entry ' || o.id || ' is reversed ' || count(*) || ' times' FROM ledger_entries e
          JOIN ledger_entries o ON o.tenant_id = e.tenant_id AND o.id = e.reverses_id
         WHERE e.tenant_id = :tenant GROUP BY o.id, o.reverses_id HAVING count(*) > 1 OR o.reverses_id IS NOT NULL
    """,
    "i06_no_more_given_back_than_was_paid": """
        SELECT 'payment ' || y.id || ': paid ' || y.amount_fen || ', given back ' || sum(p.amount_fen)::text FROM payments y
          JOIN ledger_entries e ON e.tenant_id = y.tenant_id AND e.document = 'payment:' || y.id
          JOIN ledger_postings p ON p.tenant_id = e.tenant_id AND p.entry_id = e.id
          JOIN ledger_accounts a ON a.tenant_id = p.tenant_id AND a.id = p.debit_account_id AND a.code = 'wallet'
         WHERE y.tenant_id = :tenant GROUP BY y.id, y.amount_fen HAVING sum(p.amount_fen) > y.amount_fen
    """,
    "i07_held_is_sum_of_pending_holds": """
        SELECT 'account ' || b.account_id || ': held ' || b.held_fen || ', holds ' || coalesce(sum(h.amount_fen), 0)
          FROM ledger_balances b LEFT JOIN ledger_holds h
            ON h.tenant_id = b.tenant_id AND h.account_id = b.account_id AND h.state = 'pending'
         WHERE b.tenant_id = :tenant GROUP BY b.account_id, b.held_fen
        HAVING b.held_fen <> coalesce(sum(h.amount_fen), 0)
    """,
    "i07_posted_hold_drew_what_it_held": """
        SELECT 'hold ' || h.id || ' held ' || h.amount_fen || ', its entry drew ' || coalesce(sum(legs.drawn), 0)::text
          FROM ledger_holds h LEFT JOIN LATERAL (
                SELECT p.amount_fen AS drawn FROM ledger_postings p
                 WHERE p.tenant_id = :tenant AND p.entry_id = h.entry_id AND p.debit_account_id = h.account_id
                UNION ALL SELECT -p.amount_fen FROM ledger_postings p
                 WHERE p.tenant_id = :tenant AND p.entry_id = h.entry_id AND p.credit_account_id = h.account_id) legs ON true
         WHERE h.tenant_id = :tenant AND h.state = 'posted' GROUP BY h.id, h.amount_fen
        HAVING abs(coalesce(sum(legs.drawn), 0)) NOT BETWEEN 1 AND h.amount_fen
    """,
    "i07_entry_ends_one_hold": """
        SELECT 'entry ' || entry_id || ' ended ' || count(*) || ' holds' FROM ledger_holds
         WHERE tenant_id = :tenant AND entry_id IS NOT NULL GROUP BY entry_id HAVING count(*) > 1
    """,
    "i08_deposits_and_advances_are_not_overdrawn": """
        SELECT 'account ' || a.id || ' (' || a.code || ') stands at ' || b.balance_fen FROM ledger_accounts a
          JOIN ledger_balances b ON b.tenant_id = a.tenant_id AND b.account_id = a.id
         WHERE a.tenant_id = :tenant AND a.code IN ('deposit', 'advance') AND b.balance_fen < b.held_fen
    """,
    "i08_posted_usage_is_in_the_ledger": """
        SELECT 'supply account ' || a.supply_account_id || ': days posted ' || coalesce(d.posted, 0)::text || ', carry '
               || b.carry_microfen || ', ledger ' || coalesce(u.drawn_fen, 0)::text
          FROM ledger_accounts a JOIN ledger_balances b ON b.tenant_id = a.tenant_id AND b.account_id = a.id
          LEFT JOIN (SELECT supply_account_id, sum(posted_microfen) AS posted FROM account_days
                      WHERE tenant_id = :tenant GROUP BY supply_account_id) d
            ON d.supply_account_id = a.supply_account_id
          LEFT JOIN (SELECT account_id, sum(drawn) AS drawn_fen FROM (
                SELECT p.debit_account_id AS account_id, p.amount_fen AS drawn FROM ledger_postings p
                  JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id AND e.kind = 'usage_day'
                 WHERE p.tenant_id = :tenant
                UNION ALL SELECT p.credit_account_id, -p.amount_fen FROM ledger_postings p
                  JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id AND e.kind = 'usage_day'
                 WHERE p.tenant_id = :tenant) legs GROUP BY account_id) u ON u.account_id = a.id
         WHERE a.tenant_id = :tenant AND a.code = 'wallet'
           AND coalesce(d.posted, 0) <> coalesce(u.drawn_fen, 0) * 1000000 + b.carry_microfen
    """,
    "i08_accrual_is_rated_minus_posted_plus_carry": """
        SELECT 'supply account ' || a.supply_account_id || ': accrued ' || b.accrued_microfen || ', days '
               || coalesce(d.open, 0) || ', carry ' || b.carry_microfen
          FROM ledger_balances b
          JOIN ledger_accounts a ON a.tenant_id = b.tenant_id AND a.id = b.account_id AND a.code = 'wallet'
          LEFT JOIN (SELECT supply_account_id, sum(rated_microfen - posted_microfen) AS open FROM account_days
                      WHERE tenant_id = :tenant GROUP BY supply_account_id) d
            ON d.supply_account_id = a.supply_account_id
         WHERE b.tenant_id = :tenant AND b.accrued_microfen <> coalesce(d.open, 0) + b.carry_microfen
    """,
    "i10_no_float_column": """
        SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
         WHERE a.atttypid IN ('float4'::regtype, 'float8'::regtype) AND c.relkind IN ('r', 'p') AND :tenant IS NOT NULL
    """,
    "i10_amount_columns_are_whole_numbers": """
        SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
         WHERE c.relkind IN ('r', 'p') AND NOT a.attisdropped AND :tenant IS NOT NULL
           AND a.attname ~ '(^|_)(fen|microfen|wh)(_|$)' AND a.atttypid NOT IN ('int8'::regtype, 'int4'::regtype)
    """,
    "i12_wallet_stands_in_the_book_of_its_supply_account": """
        SELECT 'account ' || a.id || ' stands in book ' || a.book_id || ', its supply account in ' || s.book_id
          FROM ledger_accounts a JOIN supply_accounts s ON s.tenant_id = a.tenant_id AND s.id = a.supply_account_id
         WHERE a.tenant_id = :tenant AND a.book_id <> s.book_id
    """,
    "i12_headquarters_accounts_eliminate": """
        SELECT 'due to and due from headquarters are off by ' || sum(signed)::text FROM (
            SELECT p.amount_fen AS signed FROM ledger_postings p JOIN ledger_accounts a
                ON a.tenant_id = p.tenant_id AND a.id = p.debit_account_id
             WHERE p.tenant_id = :tenant AND a.code IN ('due_to_headquarters', 'due_from_headquarters')
            UNION ALL SELECT -p.amount_fen FROM ledger_postings p JOIN ledger_accounts a
                ON a.tenant_id = p.tenant_id AND a.id = p.credit_account_id
             WHERE p.tenant_id = :tenant AND a.code IN ('due_to_headquarters', 'due_from_headquarters')) legs
        HAVING coalesce(sum(signed), 0) <> 0
    """,
    "i13_what_is_given_moved_its_own_wallet": """
        SELECT 'money given ' || m.id || ' differs from entry ' || m.entry_id FROM money_given m
         WHERE m.tenant_id = :tenant
           AND CASE WHEN m.kind = 'refund' THEN -m.amount_fen ELSE m.amount_fen END IS DISTINCT FROM
               (SELECT sum(CASE WHEN p.credit_account_id = a.id THEN p.amount_fen ELSE -p.amount_fen END)
                  FROM ledger_postings p JOIN ledger_accounts a ON a.tenant_id = p.tenant_id
                       AND a.id IN (p.credit_account_id, p.debit_account_id) AND a.code = 'wallet'
                       AND a.supply_account_id = m.supply_account_id
                 WHERE p.tenant_id = m.tenant_id AND p.entry_id = m.entry_id)
    """,
    "i13_entry_that_gives_has_its_paper": """
        SELECT 'entry ' || e.id || ' gives and has no paper' FROM ledger_entries e
         WHERE e.tenant_id = :tenant AND e.kind IN ('refund', 'waiver', 'adjustment') AND NOT EXISTS (
               SELECT 1 FROM money_given m WHERE m.tenant_id = e.tenant_id AND m.entry_id = e.id AND m.kind = e.kind)
    """,
    "i13_paper_numbers_gapless": """
        SELECT m.kind || ' in book ' || m.book_id || ': ' || count(*) || ' papers, last number '
               || coalesce(s.last_no::text, 'none')
          FROM money_given m LEFT JOIN number_series s
            ON s.tenant_id = m.tenant_id AND s.book_id = m.book_id AND s.till = m.kind
         WHERE m.tenant_id = :tenant GROUP BY m.book_id, m.kind, s.last_no
        HAVING count(*) IS DISTINCT FROM s.last_no OR max(m.number) <> s.last_no OR min(m.number) <> 1
    """,
    "x01_no_trip_without_permit": """
        SELECT 'command ' || c.id || ' trips without a permit of its meter' FROM commands c
         WHERE c.tenant_id = :tenant AND c.kind = 'trip' AND NOT EXISTS (SELECT 1 FROM permits p
               WHERE p.tenant_id = c.tenant_id AND p.id = c.permit_id AND p.meter_id = c.meter_id)
    """,
    "x02_closed_months_got_no_late_entry": """
        SELECT 'entry ' || e.id || ' was booked into closed ' || e.month FROM ledger_entries e
          JOIN ledger_periods p ON p.tenant_id = e.tenant_id AND p.book_id = e.book_id AND p.month = e.month
         WHERE e.tenant_id = :tenant AND p.state = 'closed' AND e.event_at > p.closed_at
           AND e.kind <> 'closing'
    """,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken invariant: its name, and the row that breaks it."""

    name: str
    detail: str


def violations(session: Session, *, limit: int = 20) -> list[Violation]:
    """Every broken invariant of the tenant, at most `limit` rows of each."""
    found = []
    for name, sql in INVARIANTS.items():
        rows = session.execute(text(f"SELECT * FROM ({sql}) v LIMIT {int(limit)}"), {"tenant": current_tenant_id()})
        found += [Violation(name, str(row[0])) for row in rows]
    return found
