-- Schema version 1. Words in braces are column types and table options, spelt
-- for each database in dialect.go.
--
-- Tables are keyed by the localpart, not by a reference to account: a session
-- may write once more while its account is being deleted. Addresses can be
-- 3071 bytes, as long as the longest key MySQL can index, so keys hold a
-- digest of them. Names of tables and columns are no reserved words anywhere.

CREATE TABLE account (
    user        {localpart} NOT NULL PRIMARY KEY,
    credentials {text}      NOT NULL, -- JSON array of store.Credential
    created     {int}       NOT NULL  -- Unix seconds
) {keyed};

-- A row outlives its account, so that no version is used twice.
CREATE TABLE roster (
    user    {localpart} NOT NULL PRIMARY KEY,
    version {int}       NOT NULL
) {keyed};

CREATE TABLE roster_item (
    user      {localpart} NOT NULL,
    digest    {digest}    NOT NULL, -- of contact
    contact   {jid}       NOT NULL,
    name      {text}      NOT NULL,
    in_groups {bytes}     NOT NULL, -- netstrings without the commas: 7:Friends4:Work
    sub       {int}       NOT NULL, -- 0 none, 1 to, 2 from, 3 both
    flags     {int}       NOT NULL, -- 1 ask, 2 pending in, 4 approved, 8 hidden
    request   {bytes},
    created   {int}       NOT NULL, -- Unix seconds
    PRIMARY KEY (user, digest)
) {keyed};

CREATE TABLE blocked (
    user   {localpart} NOT NULL,
    digest {digest}    NOT NULL, -- of jid
    jid    {jid}       NOT NULL,
    PRIMARY KEY (user, digest)
) {keyed};

-- The counters of one user's offline messages. Every append locks this row
-- first, so one user's messages commit in the order of their seq. A row
-- outlives its account, so that no seq is used twice.
CREATE TABLE offline_queue (
    user     {localpart} NOT NULL PRIMARY KEY,
    last_seq {int}       NOT NULL,
    waiting  {int}       NOT NULL -- rows in offline_message
) {keyed};

CREATE TABLE offline_message (
    user   {localpart} NOT NULL,
    seq    {int}       NOT NULL,
    stored {int}       NOT NULL, -- Unix milliseconds
    stanza {bytes}     NOT NULL,
    PRIMARY KEY (user, seq)
) {heap};

CREATE TABLE private_xml (
    user   {localpart} NOT NULL,
    digest {digest}    NOT NULL, -- of the element's local name and namespace
    space  {text}      NOT NULL,
    local  {text}      NOT NULL,
    xml    {bytes}     NOT NULL,
    PRIMARY KEY (user, digest)
) {heap};

CREATE TABLE vcard (
    user {localpart} NOT NULL PRIMARY KEY,
    xml  {bytes}     NOT NULL
) {heap};

CREATE TABLE last_activity (
    user   {localpart} NOT NULL PRIMARY KEY,
    seen   {int}       NOT NULL, -- Unix seconds
    status {text}      NOT NULL
) {keyed};
