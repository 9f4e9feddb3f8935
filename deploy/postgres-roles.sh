#!/bin/bash
# Run once by the PostgreSQL image when its volume is empty: the three roles and the database.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set owner_password="$OWNER_PASSWORD" --set app_password="$APP_PASSWORD" --set backup_password="$BACKUP_PASSWORD" \
  --file /roles.sql
