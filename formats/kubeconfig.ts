import { parse } from 'yaml';
import { z } from 'zod';

const Users = z.looseObject({
  users: z
    .array(z.looseObject({ name: z.string(), user: z.looseObject({ tokenFile: z.string().optional() }).nullish() }))
    .nullish(),
});

/**
 * The files that hold the tokens of a kubeconfig's users, by the users' names, as they stand there.
 * @throws where it is no kubeconfig
 */
export function tokenFilesIn(kubeconfig: string): ReadonlyMap<string, string> {
  const { users } = Users.parse(parse(kubeconfig));
  return new Map(
    (users ?? []).flatMap(({ name, user }) => (user?.tokenFile ? ([[name, user.tokenFile]] as const) : [])),
  );
}
