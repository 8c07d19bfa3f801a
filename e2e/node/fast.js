// SASL2 with all that it brings along (XEP-0388, XEP-0386, XEP-0484, XEP-0198 §9) as @xmpp/client does it by itself: a
// password once, then a token, and the session goes on in one round trip.

import { Client, ask, assert, domain, relay, run, xml } from "./client.js";
import { happens, inOrder, lose, resume } from "./breaking.js";

const agent = "d4565fa7-4d72-4749-b3d3-740edbf87770";
const gap = 20; // messages that are sent while one is away

async function throughGaps() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "game", service: relay, agent }).login();
  assert.ok(b.full.startsWith(`bob@${domain}/game/`) && !b.full.includes(agent), b.full);
  assert.ok(b.xmpp.streamManagement.id, "resumable");
  assert.equal(b.attempts.length, 1);
  assert.notEqual(b.attempts[0].attrs.mechanism, "HT-SHA-256-NONE");
  const token = await b.xmpp.fast.fetch();
  assert.ok(token.token.length >= 43 && new Date(token.expiry) > new Date(), "token");
  for (const breaks of ["cut", "hold", "cut"]) {
    await lose(b, breaks);
    for (let i = 0; i < gap; i++) await a.say(i % 2 ? b.bare : b.full, `number ${i}`);
    await a.ping();
    b.attempts.length = 0;
    await resume(b);
    assert.equal(b.attempts.length, 1, "one round trip");
    assert.equal(b.attempts[0].attrs.mechanism, "HT-SHA-256-NONE");
    assert.ok(b.attempts[0].getChild("resume"), "resumption");
    await inOrder(b, gap);
  }
  await b.logout();
  await a.logout();
}

// The old session is gone, the token is not: a new session with the same address, still in one round trip.
async function serverDies() {
  const b = await new Client("bob", { resource: "game", service: relay, agent }).login();
  await lose(b, "hold");
  await ask("kill");
  await ask("start");
  b.attempts.length = 0;
  const online = happens(b.xmpp, "online");
  await b.xmpp.reconnect.reconnect();
  await online;
  assert.equal(b.attempts.length, 1, "one round trip");
  assert.equal(b.attempts[0].attrs.mechanism, "HT-SHA-256-NONE");
  assert.equal(b.xmpp.jid.toString(), b.full, "the same resource");
  await b.xmpp.send(xml("presence"));
  await b.presence(b.full);
  const again = await new Client("alice", { resource: "again", service: relay }).login();
  for (let i = 0; i < gap; i++) await again.say(b.bare, `number ${i}`);
  await inOrder(b, gap);
  await b.logout();
  await again.logout();
}

// A token that does not count leads to the password on the same stream.
async function wrongToken() {
  const b = new Client("bob", { resource: "game", agent });
  await b.xmpp.fast.saveToken({ mechanism: "HT-SHA-256-NONE", token: "wrong", expiry: "2100-01-01T00:00:00Z" });
  await b.login();
  assert.deepEqual(b.attempts.map((e) => e.attrs.mechanism === "HT-SHA-256-NONE"), [true, false]);
  assert.notEqual((await b.xmpp.fast.fetch()).token, "wrong", "a new token");
  await b.logout();
}

await run(wrongToken, throughGaps, serverDies); // the last one moves the server
