# The worker, and the command line: docker build --tag slipway .
# glibc, because Temporal's core is a native module built for it.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY . .
RUN npm ci && npm prune --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
ENV NODE_ENV=production
# Less memory for the same work: young objects of two heaps in each worker, and glibc's own reserves for each thread.
ENV NODE_OPTIONS=--max-semi-space-size=8
ENV MALLOC_ARENA_MAX=2
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# Evidence and scrapes: mount a volume that all workers share, and set SLIPWAY_DATA_DIR to it.
RUN mkdir /data && chown 10001:10001 /data
ENV SLIPWAY_DATA_DIR=/data
USER 10001:10001
EXPOSE 9464
ENTRYPOINT ["node", "/app/dist/bin/slipway.js"]
CMD ["worker"]
