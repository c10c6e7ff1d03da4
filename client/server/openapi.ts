import { OpenAPIHono, z } from '@hono/zod-openapi';
import { SLIPWAY_VERSION } from '../../domain/version.js';
import { ENDPOINTS, problemsOf } from './endpoints.js';
import type { Access, Endpoint } from './endpoints.js';
import { PROBLEMS } from './problems.js';
import { ProblemShape } from './schemas.js';

const SIGNED_IN = [{ bearer: [] }, { session: [] }];
/** One of these proves who asks. */
const SECURITY: Readonly<Record<Access['kind'], Record<string, string[]>[]>> = {
  public: [],
  'signed-in': SIGNED_IN,
  run: SIGNED_IN,
  lane: SIGNED_IN,
  alerts: [{ bearer: [] }],
  slack: [{ slack: [] }],
};

/** The OpenAPI 3.1 document of the API. */
export function openApiDocument(publicUrl: string): Readonly<Record<string, unknown>> {
  const app = new OpenAPIHono();
  const { openAPIRegistry: registry } = app;
  registry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: 'A static token (slp_…), or the OpenID token of a CI job for this server’s audience.',
  });
  registry.registerComponent('securitySchemes', 'session', {
    type: 'apiKey',
    in: 'cookie',
    name: publicUrl.startsWith('https:') ? '__Host-slipway' : 'slipway-session',
    description: 'The session of the page. Requests that change something also carry X-Slipway-CSRF.',
  });
  registry.registerComponent('securitySchemes', 'slack', {
    type: 'apiKey',
    in: 'header',
    name: 'X-Slack-Signature',
    description:
      'v0= and the HMAC-SHA-256, in hex, of v0:<X-Slack-Request-Timestamp>:<body> under the signing secret of the Slack app; good for 5 minutes.',
  });
  for (const [operationId, endpoint] of Object.entries<Endpoint>(ENDPOINTS)) {
    const { method, path, summary, description, access, params, query, body, headers, answers } = endpoint;
    const { bodyType = 'application/json' } = endpoint;
    const byStatus = new Map<number, string[]>();
    for (const code of problemsOf(endpoint)) {
      const { status } = PROBLEMS[code];
      byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
    }
    const problems = [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.map((code) => `\`${code}\``).join(', '),
        content: { 'application/problem+json': { schema: ProblemShape } },
      },
    ]);
    const good = Object.entries(answers).map(([status, { description, schema, type }]) => [
      status,
      schema === undefined && type === undefined
        ? { description }
        : { description, content: { [type ?? 'application/json']: { schema: schema ?? z.any() } } },
    ]);
    const headerShapes = Object.fromEntries(
      Object.entries(headers ?? {}).map(([name, text]) => [name, z.string().optional().openapi({ description: text })]),
    );
    registry.registerPath({
      method,
      path,
      operationId,
      summary,
      ...(description === undefined ? {} : { description }),
      security: SECURITY[access.kind],
      request: {
        ...(params === undefined ? {} : { params: z.object(params) }),
        ...(query === undefined ? {} : { query: query as z.ZodObject }),
        ...(headers === undefined ? {} : { headers: z.object(headerShapes) }),
        ...(body === undefined ? {} : { body: { required: true, content: { [bodyType]: { schema: body } } } }),
      },
      responses: Object.fromEntries([...problems, ...good]) as Record<string, { description: string }>,
    });
  }
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Slipway',
      version: SLIPWAY_VERSION,
      description: 'Rollouts: start, watch and decide. Problems are RFC 9457; docs/server.md lists them.',
    },
    servers: [{ url: publicUrl }],
  }) as unknown as Readonly<Record<string, unknown>>;
}
