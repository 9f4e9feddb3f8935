-- What `make test-external` and a product on a PostgreSQL of its own need. Run once as a superuser, with psql:
--
--   psql -v owner_password=... -v app_password=... -v backup_password=... -f tools/external_roles.sql
--
-- Then: DATABASE_URL=postgresql://tallyhouse_app:...@host/tallyhouse
--       DATABASE_OWNER_URL=postgresql://tallyhouse_owner:...@host/tallyhouse
--       DATABASE_BACKUP_URL=postgresql://tallyhouse_backup:...@host/tallyhouse
--       REDIS_URL=redis://...
--
-- The runtime role owns nothing, is no superuser and passes by no row-level security: the product refuses to start
-- as one that does. CREATEDB and pg_signal_backend are for tests only (a database for each test worker).
CREATE ROLE tallyhouse_owner LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE tallyhouse_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'app_password';
CREATE ROLE tallyhouse_backup LOGIN NOSUPERUSER BYPASSRLS PASSWORD :'backup_password';
GRANT pg_signal_backend TO tallyhouse_owner;
GRANT pg_read_all_data TO tallyhouse_backup;
CREATE DATABASE tallyhouse OWNER tallyhouse_owner ENCODING 'UTF8' TEMPLATE template0;
