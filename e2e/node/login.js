// Each transport and each mechanism that @xmpp/client has.

import { Client, assert, domain, run, services } from "./client.js";

async function transportsAndMechanisms() {
  for (const service of Object.values(services)) {
    for (const mechanism of ["SCRAM-SHA-1", "PLAIN"]) {
      const c = await new Client("alice", { service, mechanism, resource: "node" }).login();
      assert.equal(c.full, `alice@${domain}/node`);
      await c.ping();
      await c.logout();
    }
  }
}

async function strongestFirst() {
  const c = await new Client("alice").login();
  assert.equal(c.mechanisms[0], "SCRAM-SHA-1", "the strongest that both know");
  await c.logout();
}

async function wrongPassword() {
  for (const mechanism of ["SCRAM-SHA-1", "PLAIN"]) {
    for (const [user, password] of [["alice", "wrong"], ["nobody", "correct horse"]]) {
      const c = new Client(user, { password, mechanism });
      await assert.rejects(c.login(), { name: "SASLError", condition: "not-authorized" });
      await c.logout().catch(() => {});
    }
  }
}

await run(transportsAndMechanisms, strongestFirst, wrongPassword);
