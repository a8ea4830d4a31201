-- Until when an operator's plan holds, where it ends by itself.
ALTER TABLE accounts ADD COLUMN assigned_until_us BIGINT;
-- Whether nobody has shown yet that the address is the owner's: a token named it, and did not say that it was verified.
ALTER TABLE accounts ADD COLUMN email_unproven BOOLEAN NOT NULL DEFAULT FALSE;
-- The periods of a subscription stand with it now.
ALTER TABLE accounts DROP COLUMN subscription_start_us;
ALTER TABLE accounts DROP COLUMN subscription_end_us;

-- When the account's facts were last read from Stripe.
ALTER TABLE accounts ADD COLUMN stripe_read_at_us BIGINT;
-- From when on use is billed: when the first subscription was made.
ALTER TABLE accounts ADD COLUMN billed_since_us BIGINT;
-- The beginning of the open quota period, while it overlaps an earlier one and what opened it is not paid.
ALTER TABLE accounts ADD COLUMN unpaid_opening_us BIGINT;

CREATE INDEX accounts_stripe_customer ON accounts (stripe_customer) WHERE stripe_customer IS NOT NULL;
CREATE INDEX accounts_billed ON accounts (id)
WHERE deleted_at_us IS NULL AND (stripe_customer IS NOT NULL OR stripe_subscription IS NOT NULL);

-- What Stripe says of a subscription, as last read; `facts` is a JSON object that is read and written whole.
CREATE TABLE subscriptions (
    id       TEXT PRIMARY KEY NOT NULL,
    account  TEXT NOT NULL,
    customer TEXT NOT NULL,
    facts    TEXT NOT NULL
);

CREATE INDEX subscriptions_account ON subscriptions (account, id);
CREATE INDEX subscriptions_customer ON subscriptions (customer);

-- What Stripe has told, one row an event, kept so that none is heeded twice. `state` is `pending`, `done` or `dead`;
-- `subject` is whose facts it changes: a customer where that is known, else the object it tells of.
CREATE TABLE webhook_inbox (
    id             TEXT PRIMARY KEY NOT NULL,
    kind           TEXT NOT NULL,
    subject        TEXT NOT NULL,
    object         TEXT NOT NULL,
    account        TEXT,
    created_at_us  BIGINT NOT NULL,
    received_at_us BIGINT NOT NULL,
    payload        TEXT NOT NULL,
    state          TEXT NOT NULL,
    attempts       BIGINT NOT NULL,
    due_us         BIGINT NOT NULL,
    settled_at_us  BIGINT,
    note           TEXT
);

CREATE INDEX webhook_inbox_due ON webhook_inbox (due_us, id) WHERE state = 'pending';
CREATE INDEX webhook_inbox_due_subject ON webhook_inbox (subject, due_us, id) WHERE state = 'pending';
CREATE INDEX webhook_inbox_received ON webhook_inbox (received_at_us, id);
CREATE INDEX webhook_inbox_pending ON webhook_inbox (received_at_us, id) WHERE state = 'pending';
CREATE INDEX webhook_inbox_dead ON webhook_inbox (received_at_us, id) WHERE state = 'dead';
CREATE INDEX webhook_inbox_kind ON webhook_inbox (kind, received_at_us, id);
CREATE INDEX webhook_inbox_account ON webhook_inbox (account, received_at_us, id) WHERE account IS NOT NULL;
CREATE INDEX webhook_inbox_subject ON webhook_inbox (subject);
CREATE INDEX webhook_inbox_settled ON webhook_inbox (settled_at_us) WHERE state = 'done';

-- Work that one process at a time does. What it writes names the epoch it holds, and is refused once another holds a
-- later one.
CREATE TABLE leases (
    name     TEXT PRIMARY KEY NOT NULL,
    holder   TEXT NOT NULL,
    epoch    BIGINT NOT NULL,
    until_us BIGINT NOT NULL
);

-- Units that a paid invoice took out of an open period's quota when it opened a later one. They were used before
-- `opened_us`, and are billed.
CREATE TABLE period_openings (
    account         TEXT NOT NULL,
    meter           TEXT NOT NULL,
    period_start_us BIGINT NOT NULL,
    period_end_us   BIGINT NOT NULL,
    opened_us       BIGINT NOT NULL,
    units           BIGINT NOT NULL CHECK (units >= 0),
    PRIMARY KEY (account, meter, period_start_us, period_end_us, opened_us)
);

-- Metered use told to Stripe, or to be told: one row a call there, whose identifier lets Stripe count it once. `state` is
-- `pending`, `sent` or `failed`; `planned` are the units of this and all earlier ones of its period.
CREATE TABLE meter_sends (
    identifier      TEXT PRIMARY KEY NOT NULL,
    account         TEXT NOT NULL,
    customer        TEXT NOT NULL,
    meter           TEXT NOT NULL,
    event_name      TEXT NOT NULL,
    period_start_us BIGINT NOT NULL,
    period_end_us   BIGINT NOT NULL,
    number          BIGINT NOT NULL,
    units           BIGINT NOT NULL CHECK (units > 0),
    planned         BIGINT NOT NULL,
    at_us           BIGINT NOT NULL,
    created_at_us   BIGINT NOT NULL,
    state           TEXT NOT NULL,
    first_tried_us  BIGINT,
    attempts        BIGINT NOT NULL,
    due_us          BIGINT NOT NULL,
    sent_at_us      BIGINT,
    note            TEXT
);

CREATE UNIQUE INDEX meter_sends_number ON meter_sends (account, meter, period_start_us, period_end_us, number);
CREATE INDEX meter_sends_due ON meter_sends (due_us, identifier) WHERE state = 'pending';
CREATE INDEX meter_sends_pending ON meter_sends (account, meter, period_start_us, period_end_us) WHERE state = 'pending';
CREATE INDEX meter_sends_at ON meter_sends (account, meter, at_us);
-- Of periods that are long over one row is left of what Stripe has.
CREATE INDEX meter_sends_ended ON meter_sends (period_end_us, account, meter, period_start_us) WHERE state = 'sent';

-- What was counted elsewhere and imported is not billed.
CREATE INDEX usage_lines_imported ON usage_lines (account, meter, period_start_us, period_end_us) WHERE kind = 'imported';
