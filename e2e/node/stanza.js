// stanza, in Node: alice over WebSocket, bob over BOSH. They exchange messages in order, presence, and
// bob's requests are answered; then each leaves in order.

import assert from "node:assert/strict";
import { once } from "node:events";

import { createClient } from "stanza";
import WebSocket from "ws";

globalThis.WebSocket ??= WebSocket; // Node 20 has none

const domain = process.env.CHATD_DOMAIN;
const patience = 20_000; // milliseconds that one expected thing may take
const count = 30;

const happens = (client, event) => once(client, event, { signal: AbortSignal.timeout(patience) }).then(([value]) => value);

async function login(user, transports) {
  const client = createClient({ jid: `${user}@${domain}`, password: "correct horse", resource: "stanza", transports });
  client.heard = [];
  client.on("message", (message) => client.heard.push(message.body));
  client.on("stream:error", (error) => assert.fail(`${user}: ${JSON.stringify(error)}`));
  const started = happens(client, "session:started");
  client.connect();
  await started;
  client.sendPresence();
  return client;
}

async function hears(client, expected) {
  const deadline = AbortSignal.timeout(patience);
  while (client.heard.length < expected.length) await once(client, "message", { signal: deadline });
  assert.deepEqual(client.heard, expected);
}

const base = `//${process.env.CHATD_WEB}`;
const [alice, bob] = await Promise.all([
  login("alice", { websocket: `wss:${base}/xmpp-websocket`, bosh: false }),
  login("bob", { bosh: `https:${base}/http-bind`, websocket: false }),
]);
assert.equal((await bob.getRoster()).items.length, 0);
await bob.ping(domain);

const presence = (type) =>
  new Promise((resolve, reject) => {
    AbortSignal.timeout(patience).addEventListener("abort", () => reject(new Error(`alice does not see bob ${type}`)));
    alice.on(type, ({ from }) => from === bob.jid && resolve());
  });
const accepted = presence("available");
bob.on("subscribe", ({ from }) => bob.acceptSubscription(from));
alice.subscribe(bob.jid.split("/")[0]);
await accepted;

const texts = Array.from({ length: count }, (_, i) => `${i} <&> \u{1F600}`);
for (const body of texts) {
  alice.sendMessage({ to: bob.jid, type: "chat", body });
  bob.sendMessage({ to: alice.jid, type: "chat", body });
}
await Promise.all([hears(bob, texts), hears(alice, texts)]);

const gone = presence("unavailable");
bob.disconnect();
await gone;
alice.disconnect();
await happens(alice, "disconnected");
process.exit(0);
