import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { DockerConfigUnusable, readDockerConfig } from '../../../activities/registry/docker-config.js';
import type { DockerConfig } from '../../../activities/registry/docker-config.js';

const SECRET = 'pass:word-9f2c';
let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-docker-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function configOf(content: unknown): Promise<DockerConfig> {
  const file = path.join(folder, 'config.json');
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return readDockerConfig(file);
}

function auth(text: string): { readonly auth: string } {
  return { auth: Buffer.from(text).toString('base64') };
}

const LOGIN = { kind: 'login', username: 'reader', password: SECRET };

describe("a Docker config.json's logins", () => {
  it('are found by host, however the key is written, with colons in the password', async () => {
    const config = await configOf({
      auths: {
        'https://index.docker.io/v1/': auth(`hub:${SECRET}`),
        'registry.example.com': auth(`reader:${SECRET}`),
        'http://registry.lan:5000/v2/': { username: 'reader', password: SECRET },
        'padded.example.com': auth(`reader:${SECRET}\0\0`),
      },
      HttpHeaders: { 'User-Agent': 'Docker-Client' },
    });
    assert.deepEqual(config.loginFor('docker.io'), { ...LOGIN, username: 'hub' });
    for (const host of ['registry.example.com', 'registry.lan:5000', 'padded.example.com'])
      assert.deepEqual(config.loginFor(host), LOGIN, host);
    for (const host of ['registry.example.com:443', 'registry.lan', 'example.com', 'index.docker.io.example.com'])
      assert.equal(config.loginFor(host), null, host);
  });

  it('that are not passwords are named, and no helper is run', async () => {
    const config = await configOf({
      auths: {
        'token.example.com': { ...auth('00000000:'), identitytoken: SECRET },
        'kept.example.com': {},
        'written.example.com': auth(`reader:${SECRET}`),
      },
      credHelpers: { 'ecr.example.com': 'ecr-login' },
      credsStore: 'desktop',
    });
    const reasonOf = (host: string): string => {
      const login = config.loginFor(host);
      return login?.kind === 'unusable' ? login.reason : assert.fail(`${host}: ${login?.kind}`);
    };
    assert.match(reasonOf('token.example.com'), /identity token/);
    assert.match(reasonOf('ecr.example.com'), /credential helper "ecr-login" of .*config\.json.*under auths/);
    assert.match(reasonOf('kept.example.com'), /credential helper "desktop"/);
    assert.doesNotMatch(reasonOf('token.example.com'), /9f2c/);
    assert.deepEqual(config.loginFor('written.example.com'), LOGIN);
  });

  it('are none where nothing is written', async () => {
    for (const content of [{}, { auths: {} }, { auths: { 'registry.example.com': auth('no colon') } }])
      assert.equal((await configOf(content)).loginFor('registry.example.com'), null);
  });

  it('that can’t be read are said to be so, without a word of them', async () => {
    for (const content of [`${SECRET} {`, '[]', `{"auths":"${SECRET}"}`, { auths: { [SECRET]: { auth: 7 } } }]) {
      await assert.rejects(configOf(content), (error: Error) => {
        assert.ok(error instanceof DockerConfigUnusable);
        assert.match(error.message, /config\.json is (not JSON|no config\.json of Docker)/);
        assert.doesNotMatch(error.message, /9f2c/);
        return true;
      });
    }
    await assert.rejects(
      readDockerConfig(path.join(folder, 'nowhere.json')),
      /nowhere\.json can't be read \(ENOENT\)$/,
    );
  });
});
