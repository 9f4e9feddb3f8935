# One image for every process: `tallyhouse web`, `worker money`, `worker commands`, `worker default`, `scheduler`, `headend`, `db migrate`.

FROM node:22-bookworm-slim AS packages
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY --from=packages /src/node_modules node_modules
COPY tools/fetch_assets.py tools/
COPY app app
RUN python tools/fetch_assets.py && rm -rf node_modules && python -m compileall -q app
RUN printf '#!/venv/bin/python\nfrom app.cli import main\nmain()\n' > /venv/bin/tallyhouse && chmod 755 /venv/bin/tallyhouse

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fontconfig fonts-wqy-microhei \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tallyhouse \
    && install -d -o tallyhouse -g tallyhouse -m 0750 /var/lib/tallyhouse
COPY --from=build /venv /venv
COPY --from=build /src/app /srv/app
COPY migrations /srv/migrations
COPY alembic.ini wsgi.py tools/container_health.py /srv/
WORKDIR /srv
USER tallyhouse
# Inside its own network a container listens for the others; compose publishes on the host's loopback only.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    VAR_DIR=/var/lib/tallyhouse WEB_HOST=0.0.0.0 HEADEND_HOST=0.0.0.0
EXPOSE 8080 8645
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "container_health.py"]
CMD ["tallyhouse", "web"]
