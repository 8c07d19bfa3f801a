// One of three clients in a room, the others being profanity and slixmpp: Converse.js is invited by the room, talks, takes another
// nick and is kicked.

import { accept, entered, html, login, order, shown, subject, told, write } from "./conversepage.js";
import { domain, screenshot, services, withPages } from "./web.js";

const room = `feast@conference.${domain}`;

await withPages(html, "converse.js/dist", async (open) => {
  const bob = await open("bob");
  await login(bob, "bob", { websocket_url: services.websocket }, { nickname: "Bob", muc_history_max_stanzas: 20 });
  await accept(bob, room, "there is cake");
  await entered(bob, room);
  await shown(bob, "Welcome, Carol"); // from the history
  await write(bob, "Bob is here & <hungry>");
  await shown(bob, "There is cake & tea");
  await subject(bob, "Cake at five");
  await order(bob, "/nick Robert");
  await shown(bob, "Now we are three");
  await write(bob, "Three it is");
  await screenshot(bob, "converse-mixed-room");
  await told(bob, "converse-muc-disconnected", "kicked", "Alice", "too late");
});
