-- A database as schema version 5 left it. Never changed.
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE account (
user TEXT NOT NULL PRIMARY KEY,
credentials TEXT NOT NULL,
created INTEGER NOT NULL
, tokens TEXT, disabled INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE roster (
user TEXT NOT NULL PRIMARY KEY,
version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE roster_item (
user TEXT NOT NULL,
digest BLOB NOT NULL,
contact TEXT NOT NULL,
name TEXT NOT NULL,
in_groups BLOB NOT NULL,
sub INTEGER NOT NULL,
flags INTEGER NOT NULL,
request BLOB,
created INTEGER NOT NULL, message TEXT,
PRIMARY KEY (user, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocked (
user TEXT NOT NULL,
digest BLOB NOT NULL,
jid TEXT NOT NULL,
PRIMARY KEY (user, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE offline_queue (
user TEXT NOT NULL PRIMARY KEY,
last_seq INTEGER NOT NULL,
waiting INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE offline_message (
user TEXT NOT NULL,
seq INTEGER NOT NULL,
stored INTEGER NOT NULL,
stanza BLOB NOT NULL,
PRIMARY KEY (user, seq)
) STRICT;
CREATE TABLE private_xml (
user TEXT NOT NULL,
digest BLOB NOT NULL,
space TEXT NOT NULL,
local TEXT NOT NULL,
xml BLOB NOT NULL,
PRIMARY KEY (user, digest)
) STRICT;
CREATE TABLE vcard (
user TEXT NOT NULL PRIMARY KEY,
xml BLOB NOT NULL
) STRICT;
CREATE TABLE last_activity (
user TEXT NOT NULL PRIMARY KEY,
seen INTEGER NOT NULL,
status TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE roster_note (
user TEXT NOT NULL PRIMARY KEY,
notes BLOB NOT NULL
) STRICT;
CREATE TABLE privacy (
user TEXT NOT NULL PRIMARY KEY,
messages INTEGER NOT NULL,
requests INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO schema_version VALUES (5);
INSERT INTO account VALUES ('anna', '[{"Mechanism":"SCRAM-SHA-256","Salt":"AAEC","Iterations":4096,"StoredKey":"AwQ=","ServerKey":"BQY="}]', 1700000000, '[{"Client":"phone","Mechanism":"HT-SHA-256-NONE","Nonce":"AAEC","Issued":"2023-11-14T22:13:20Z","Expires":"2023-12-05T22:13:20Z","Used":true,"Limited":false}]', 1);
INSERT INTO roster VALUES ('anna', 1700000000000001);
INSERT INTO roster_item VALUES ('anna', X'27aa3271abd49c3cfdd008633af7bd9d', 'bob@chat.test', 'Bob', CAST('7:Friends4:Work' AS BLOB), 3, 4, NULL, 1700000001, NULL);
INSERT INTO blocked VALUES ('anna', X'5a092ae9ba4357ebe79c19e59b1aabb4', 'troll@chat.test');
INSERT INTO offline_queue VALUES ('anna', 3, 2);
INSERT INTO offline_message VALUES ('anna', 1, 1700000002000, CAST('<message>1</message>' AS BLOB));
INSERT INTO offline_message VALUES ('anna', 3, 1700000002500, CAST('<message>3</message>' AS BLOB));
INSERT INTO private_xml VALUES ('anna', X'80a4278c6b3bee40bd292688275dde43', 'urn:notes', 'notes', CAST('<notes/>' AS BLOB));
INSERT INTO vcard VALUES ('anna', CAST('<vCard/>' AS BLOB));
INSERT INTO last_activity VALUES ('anna', 1700000003, 'bye');
INSERT INTO roster_note VALUES ('anna', CAST('13:bob@chat.test3:duo10:17000000040:' AS BLOB));
INSERT INTO privacy VALUES ('anna', 2, 3);
