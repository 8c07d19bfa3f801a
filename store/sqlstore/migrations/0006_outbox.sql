-- The outbox: events that wait until somebody outside has been told of them.

-- The counters of one queue, and who empties it. Every post locks this row first, so that events
-- commit in the order of their seq.
CREATE TABLE outbox_queue (
    queue      {localpart} NOT NULL PRIMARY KEY,
    last_seq   {int}       NOT NULL,
    waiting    {int}       NOT NULL, -- rows in outbox_event
    holder     {text}      NOT NULL,
    held_until {int}       NOT NULL  -- Unix milliseconds
) {keyed};

CREATE TABLE outbox_event (
    queue  {localpart} NOT NULL,
    seq    {int}       NOT NULL,
    event  {text}      NOT NULL, -- its id, the same in all queues
    type   {text}      NOT NULL,
    about  {text}      NOT NULL, -- what it happened to
    queued {int}       NOT NULL, -- Unix milliseconds
    fault  {text}      NOT NULL, -- why it was not delivered
    body   {bytes}     NOT NULL,
    PRIMARY KEY (queue, seq)
) {heap};
