# bc2ot in a container. See docs/scheduling.md; compose.yaml is an example.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
COPY docs/bc2ot.1 docs/
COPY onetribe_bc onetribe_bc
RUN python -m venv /opt/bc2ot \
    && /opt/bc2ot/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements.txt \
    && /opt/bc2ot/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --no-build-isolation .

FROM python:3.13-slim
COPY --from=build /opt/bc2ot /opt/bc2ot
# The ledger must outlive the container: it keeps orders from being sent twice.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/bc2ot bc2ot \
    && install -d -o bc2ot -g bc2ot -m 0700 /var/lib/bc2ot
ENV PATH=/opt/bc2ot/bin:$PATH BC2OT_LEDGER=/var/lib/bc2ot/ledger.db
VOLUME /var/lib/bc2ot
WORKDIR /var/lib/bc2ot
USER 10001:10001
# Healthy means that the configuration and the ledger are usable. Neither service is contacted.
HEALTHCHECK --interval=5m --timeout=30s --start-period=1m CMD ["bc2ot", "status"]
ENTRYPOINT ["bc2ot"]
CMD ["--help"]
