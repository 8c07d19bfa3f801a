// strophe.js in Chromium: one over BOSH and one over WebSocket, and then the other way round, exchange
// messages in order, have a request answered and leave in order.

import { assert, domain, eventually, password, services, withPages } from "./web.js";

const html = `<!doctype html><meta charset="utf-8"><title>strophe.js</title><script src="/strophe.umd.min.js"></script>`;
const count = 30;

// Logs in and keeps what comes in window.heard.
async function login(page, user, service) {
  await page.evaluate(
    (jid, password, service) => {
      window.heard = [];
      window.connection = new Strophe.Connection(service);
      connection.connect(jid, password, (status, why) => {
        window.stage = status;
        console.log("status", status, why);
      });
    },
    `${user}@${domain}/strophe`,
    password,
    service,
  );
  await eventually(page, () => window.stage === Strophe.Status.CONNECTED);
  await page.evaluate(() => {
    connection.addHandler((message) => heard.push(message.querySelector("body").textContent) > 0, null, "message");
    connection.send($pres());
  });
}

const say = (page, to, texts) =>
  page.evaluate((to, texts) => texts.forEach((text) => connection.send($msg({ to, type: "chat" }).c("body").t(text))), to, texts);

async function hears(page, texts) {
  await eventually(page, (n) => heard.length >= n, texts.length);
  assert.deepEqual(await page.evaluate(() => heard.splice(0)), texts);
}

const logout = async (page) => {
  await page.evaluate(() => connection.disconnect("bye"));
  await eventually(page, () => window.stage === Strophe.Status.DISCONNECTED);
};

await withPages(html, "strophe.js/dist", async (open) => {
  const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
  for (const [one, other] of [[services.bosh, services.websocket], [services.websocket, services.bosh]]) {
    await Promise.all([login(alice, "alice", one), login(bob, "bob", other)]);
    const texts = Array.from({ length: count }, (_, i) => `${i} <&> \u{1F600}`);
    await Promise.all([
      say(alice, `bob@${domain}/strophe`, texts),
      say(bob, `alice@${domain}/strophe`, texts),
      hears(alice, texts),
      hears(bob, texts),
    ]);
    const roster = await alice.evaluate(
      () => new Promise((ok, no) => connection.sendIQ($iq({ type: "get" }).c("query", { xmlns: Strophe.NS.ROSTER }), (iq) => ok(iq.getAttribute("type")), no)),
    );
    assert.equal(roster, "result");
    await Promise.all([logout(alice), logout(bob)]);
  }
});
