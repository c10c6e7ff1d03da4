import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CookieBrowser } from './cookie-browser.js';

/** What is used of `oidc-provider`, which has no types. */
interface Provider {
  callback(): (request: IncomingMessage, response: ServerResponse) => void;
}
type ProviderClass = new (issuer: string, configuration: unknown) => Provider;

export interface TestProvider {
  readonly issuer: string;
  readonly clientId: string;
  readonly secret: string;
  /** Groups by login name, as the provider tells them. */
  readonly groups: Map<string, readonly string[]>;
  close(): Promise<void>;
}

/** A real OpenID provider with a login form; any name logs in, with any password. */
export async function startProvider(redirectUri: () => string): Promise<TestProvider> {
  const name: string = 'oidc-provider';
  const { Provider } = (await import(name)) as { readonly Provider: ProviderClass };
  let handle: (request: IncomingMessage, response: ServerResponse) => void = (_, response) =>
    response.writeHead(503).end();
  const server = createServer((request, response) => handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const groups = new Map<string, readonly string[]>();
  const secret = 'client-secret-of-the-test-0123456789';
  const make = (): Provider =>
    new Provider(issuer, {
      clients: [
        {
          client_id: 'slipway',
          client_secret: secret,
          redirect_uris: [redirectUri()],
          grant_types: ['authorization_code'],
          response_types: ['code'],
        },
      ],
      claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email', 'email_verified'] },
      pkce: { required: () => true },
      cookies: { keys: ['test'] },
      features: { devInteractions: { enabled: true } },
      findAccount: (_: unknown, id: string) => ({
        accountId: id,
        claims: () => ({
          sub: id,
          name: `Name of ${id}`,
          email: `${id}@example.com`,
          email_verified: true,
          groups: groups.get(id) ?? [],
        }),
      }),
    });
  // Made with the first request: its client's address is known only then.
  handle = (request, response) => {
    handle = make().callback();
    handle(request, response);
  };
  return {
    issuer,
    clientId: 'slipway',
    secret,
    groups,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Goes through the provider's forms: name, then consent. Gives the address that the provider sends the browser back to. */
export async function passForms(browser: CookieBrowser, start: string, login: string, back: string): Promise<string> {
  const stop = (url: string): boolean => url.startsWith(back);
  let at = await browser.follow(start, { stop });
  for (let form = 0; form < 4 && at.response !== null; form += 1) {
    const html = await at.response.text();
    const action = /action="([^"]+)"/.exec(html)?.[1];
    const prompt = /name="prompt" value="(\w+)"/.exec(html)?.[1];
    if (action === undefined || prompt === undefined)
      throw new Error(`no form of the provider: ${at.url}\n${html.slice(0, 2000)}`);
    at = await browser.follow(new URL(action, at.url).href, {
      form: prompt === 'login' ? { prompt, login, password: 'any' } : { prompt },
      stop,
    });
  }
  if (at.response !== null) throw new Error(`the provider does not send back: ${at.url}`);
  return at.url;
}
