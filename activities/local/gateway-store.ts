import { canonicalJson, digestOf } from '../../domain/canonical.js';
import { ArmTemplate } from '../../formats/gateway.js';
import type { LaneRef, LocalTarget } from '../../domain/target.js';
import type { GatewayObject } from '../../formats/gateway.js';
import type { LaneStore, StoredObject, WriteOutcome } from '../fenced/store.js';
import type { GatewayClient, WriteOutcome as GatewayOutcome } from './gateway-client.js';
import { templateFor } from './template.js';

/** How the gateway keeps things: its templates, and its objects as they were read. */
export interface GatewayTypes {
  readonly template: ArmTemplate;
  readonly live: GatewayObject;
}

/** The objects of one lane in a local gateway. */
export function createGatewayStore(
  client: GatewayClient,
  { environment, service }: LaneRef,
  target: LocalTarget,
): LaneStore<GatewayTypes> {
  const list = async (signal: AbortSignal | undefined): Promise<readonly StoredObject<GatewayTypes>[]> =>
    (await client.list({ environment, service }, signal)).map(storedOf);

  return {
    where: `local gateway at ${client.baseUrl}, ${environment}/${service}`,
    split: 'weights',
    list,
    // One call gives everything.
    listServing: (_, signal) => list(signal),
    async create({ kind, name }, write, credit, signal) {
      return outcomeOf(await client.create({ environment, service, kind, name }, bodyOf(write), credit, signal));
    },
    async replace({ live }, write, credit, signal) {
      return outcomeOf(await client.replace(live, bodyOf(write), credit, signal));
    },
    async remove({ live }, credit, signal) {
      return outcomeOf(await client.remove(live, credit, signal));
    },
    leaves: (_, spec) => canonicalJson(spec),
    template: ArmTemplate,
    digest: (template) => digestOf(template),
    version: ({ version }) => version,
    // All of it stands in the template.
    configurationNames: () => [],
    configuration: () => Promise.resolve({}),
    templateFor: (source, { template }) => templateFor(source, template, target.run),
  };
}

function storedOf(live: GatewayObject): StoredObject<GatewayTypes> {
  return { ...live, live };
}

function bodyOf({ spec, annotations, owner }: Parameters<LaneStore<GatewayTypes>['create']>[1]) {
  return { spec, annotations: { ...annotations }, owner };
}

function outcomeOf(outcome: GatewayOutcome): WriteOutcome {
  return outcome.kind === 'written' ? { kind: 'written' } : outcome;
}
