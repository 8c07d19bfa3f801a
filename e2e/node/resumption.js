// Stream management (XEP-0198) as @xmpp/client does it by itself: nothing is lost,
// doubled or out of order when its connection breaks.

import { Client, ask, assert, domain, relay, run, xml } from "./client.js";
import { befriend, happens, inOrder, lose, resume } from "./breaking.js";

const alice = `alice@${domain}`;
const bob = `bob@${domain}`;
const gap = 30; // messages that are sent while one is away

async function enabled() {
  const b = await new Client("bob", { service: relay }).login();
  assert.ok(b.xmpp.streamManagement.enabled, "enabled");
  assert.ok(b.xmpp.streamManagement.id, "resumable");
  await b.logout();
}

async function throughGaps() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "b", service: relay }).login();
  await befriend(a, b);
  for (const breaks of ["cut", "cut", "hold"]) {
    await lose(b, breaks);
    for (let i = 0; i < gap; i++) await a.say(i % 2 ? bob : b.full, `number ${i}`);
    await a.ping();
    await resume(b);
    await inOrder(b, gap);
    await b.say(a.full, "I was away");
    await a.message("I was away", b.full);
  }
  assert.ok(!a.has("presence"), "the friend saw the gap");
  await b.logout();
  await a.presence(b.full, "unavailable");
  await a.logout();
}

async function sentIntoTheVoid() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "b", service: relay }).login();
  await ask("hold");
  for (let i = 0; i < gap; i++) await b.say(a.full, `number ${i}`);
  await lose(b, "cut");
  await resume(b);
  await inOrder(a, gap);
  await a.logout();
  await b.logout();
}

// The server stops in order and starts again: the session goes on.
async function serverRestarts() {
  const a = await new Client("alice", { resource: "a" }).login(); // does not come back
  const b = await new Client("bob", { resource: "b", service: relay }).login();
  await a.say(bob, "before");
  await b.message("before");
  const gone = happens(b.xmpp, "disconnect");
  await ask("stop");
  await gone;
  await ask("start");
  await resume(b);
  await b.say(alice, "I was away"); // alice is not there: it waits
  const again = await new Client("alice", { resource: "again", service: relay }).login();
  await again.message("I was away", b.full);
  for (let i = 0; i < gap; i++) await again.say(i % 2 ? bob : b.full, `number ${i}`);
  await again.ping();
  await inOrder(b, gap);
  await b.logout();
  await again.logout();
}

// Without warning: the client begins another session.
async function serverDies() {
  const b = await new Client("bob", { resource: "b", service: relay }).login();
  const gone = happens(b.xmpp, "disconnect");
  await ask("kill");
  await gone;
  await ask("start");
  const online = happens(b.xmpp, "online");
  await b.xmpp.reconnect.reconnect();
  await online;
  await b.send(xml("presence"));
  await b.presence(b.full);
  const a = await new Client("alice", { resource: "a", service: relay }).login();
  for (let i = 0; i < gap; i++) await a.say(bob, `number ${i}`);
  await inOrder(b, gap);
  await b.logout();
  await a.logout();
}

await run(enabled, throughGaps, sentIntoTheVoid, serverRestarts, serverDies);
