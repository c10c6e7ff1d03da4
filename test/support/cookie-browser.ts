/** Follows redirects and keeps cookies, as a browser does: one jar for all that is asked. */
export class CookieBrowser {
  private readonly jar = new Map<string, string>();

  /** The cookies for an address's host and port. */
  cookies(url: string): string {
    const { origin } = new URL(url);
    return [...this.jar]
      .filter(([key]) => key.startsWith(`${origin} `))
      .map(([key, value]) => `${key.slice(origin.length + 1)}=${value}`)
      .join('; ');
  }

  /** One request, without following where it leads. */
  async ask(url: string, form?: Readonly<Record<string, string>>): Promise<Response> {
    const { origin } = new URL(url);
    const cookie = this.cookies(url);
    const response = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      headers: {
        Accept: 'text/html',
        ...(cookie === '' ? {} : { Cookie: cookie }),
        ...(form === undefined ? {} : { 'Content-Type': 'application/x-www-form-urlencoded' }),
      },
      ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
      const at = pair.indexOf('=');
      const key = `${origin} ${pair.slice(0, at)}`;
      const gone = attributes.some(
        (attribute) => /^max-age=0$/i.test(attribute) || /^expires=thu, 01 jan 1970/i.test(attribute),
      );
      if (gone) this.jar.delete(key);
      else this.jar.set(key, pair.slice(at + 1));
    }
    return response;
  }

  /** Follows redirects until there is an answer that is none; `stop` ends it before an address is asked. */
  async follow(
    url: string,
    {
      form,
      stop = () => false,
    }: { readonly form?: Readonly<Record<string, string>>; readonly stop?: (url: string) => boolean } = {},
  ): Promise<{ readonly url: string; readonly response: Response | null }> {
    let at = url;
    let body = form;
    for (let hop = 0; hop < 15; hop += 1) {
      if (stop(at)) return { url: at, response: null };
      const response = await this.ask(at, body);
      const location = response.headers.get('location');
      if (response.status < 300 || response.status >= 400 || location === null) return { url: at, response };
      at = new URL(location, at).href;
      body = undefined;
    }
    throw new Error(`too many redirects, the last to ${at}`);
  }
}
