// Stream management (XEP-0198) as @xmpp/client does it by itself: nothing is lost,
// doubled or out of order when its connection breaks.

import { Client, ask, assert, domain, relay, run, xml } from "./client.js";

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

async function serverStopsMeanwhile() {
  const a = await new Client("alice", { resource: "a" }).login();
  const b = await new Client("bob", { resource: "b", service: relay }).login();
  await lose(b, "hold");
  for (let i = 0; i < gap; i++) await a.say(bob, `number ${i}`);
  await a.ping();
  await ask("stop");
  await ask("start");
  const online = happens(b.xmpp, "online"); // a new session, as the old one is unknown
  await b.xmpp.reconnect.reconnect();
  await online;
  await b.send(xml("presence"));
  await inOrder(b, gap);
  await b.logout();
}

async function befriend(a, b) {
  for (const [asker, asked, from] of [[a, b, alice], [b, a, bob]]) {
    await asker.send(xml("presence", { to: asked.bare, type: "subscribe" }));
    await asked.presence(from, "subscribe");
    await asked.send(xml("presence", { to: asker.bare, type: "subscribed" }));
    await asker.presence(asked.bare, "subscribed");
    await asker.presence(asked.full);
  }
}

// Unlike once of node:events it does not take the error of a connection that
// was broken on purpose for a failure.
function happens(emitter, event) {
  return new Promise((resolve) => emitter.once(event, resolve));
}

// The client's connection ends; if the relay holds it the server does not know.
async function lose(client, how) {
  const gone = client.xmpp.status === "disconnect" ? null : happens(client.xmpp, "disconnect");
  await ask(how);
  const socket = client.xmpp.socket?.socket; // of Node or of a WebSocket
  socket?.terminate ? socket.terminate() : socket?.destroy();
  await gone;
}

async function resume(client) {
  const resumed = happens(client.xmpp.streamManagement, "resumed");
  await client.xmpp.reconnect.reconnect();
  await resumed;
}

async function inOrder(client, count) {
  for (let i = 0; i < count; i++) {
    const got = await client.expect(`message ${i}`, (s) => s.is("message"));
    assert.equal(got.getChildText("body"), `number ${i}`, "order");
  }
  await client.ping();
  assert.ok(!client.has("message"), "more than was sent");
}

await run(enabled, throughGaps, sentIntoTheVoid, serverStopsMeanwhile);
