import { nkeys } from "@nats-io/transport-node";

/** An operator with an account that has JetStream, and a user of it, as `nsc` makes them. */
export interface UserCredentials {
  /** For nats-server's configuration. */
  config: string;
  /** What NATS_CREDS_FILE names: the user's JWT and seed. */
  creds: string;
  /** What nobody may see of it. */
  seed: string;
}

type KeyPair = ReturnType<typeof nkeys.createUser>;

export function makeUserCredentials(): UserCredentials {
  const [operator, system, account, user] = [
    ...[nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount(), nkeys.createUser()],
  ] as [KeyPair, KeyPair, KeyPair, KeyPair];
  const unbound = { subs: -1, conn: -1, leaf: -1, imports: -1, exports: -1, data: -1, payload: -1, wildcards: true };
  const stored = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const systemJwt = sign(operator, system, { type: "account", limits: unbound });
  const accountJwt = sign(operator, account, { type: "account", limits: { ...unbound, ...stored } });
  const userJwt = sign(account, user, { type: "user", subs: -1, data: -1, payload: -1, pub: {}, sub: {} });
  const seed = Buffer.from(user.getSeed()).toString();
  return {
    config: [
      `operator: ${sign(operator, operator, { type: "operator" })}`,
      `system_account: ${system.getPublicKey()}`,
      "resolver: MEMORY",
      `resolver_preload: { ${system.getPublicKey()}: ${systemJwt}, ${account.getPublicKey()}: ${accountJwt} }`,
    ].join("\n"),
    creds: [
      ...["-----BEGIN NATS USER JWT-----", userJwt, "------END NATS USER JWT------", ""],
      ...["-----BEGIN USER NKEY SEED-----", seed, "------END USER NKEY SEED------", ""],
    ].join("\n"),
    seed,
  };
}

function sign(issuer: KeyPair, subject: KeyPair, nats: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = {
    ...{ jti: crypto.randomUUID(), iat: Math.floor(Date.now() / 1000), iss: issuer.getPublicKey(), name: "test" },
    ...{ sub: subject.getPublicKey(), nats: { ...nats, version: 2 } },
  };
  const text = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part(claims)}`;
  return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString("base64url")}`;
}
