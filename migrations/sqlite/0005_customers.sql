-- Who an account is to the backend's own sign-in.
ALTER TABLE accounts ADD COLUMN subject TEXT;

CREATE UNIQUE INDEX accounts_subject ON accounts (subject) WHERE deleted_at_us IS NULL;

CREATE INDEX keys_expiring ON keys (expires_at_us) WHERE expires_at_us IS NOT NULL;

-- A line counts calls where its meter is empty, or units of that meter, which no bucket and no window ever holds. One of
-- kind `event` names the event that was reported; one of kind `credit` is what an operator gave back. No key did what
-- has an empty key.
ALTER TABLE usage_lines ADD COLUMN meter TEXT NOT NULL DEFAULT '' CHECK (meter = '' OR units_debited = 0);
ALTER TABLE usage_lines ADD COLUMN event TEXT;

CREATE INDEX usage_lines_event ON usage_lines (account, at_us, meter, event, key, units_charged) WHERE event IS NOT NULL;

-- Every ledger line summed by the hour (UTC) of its time: what histories and long windows are read from. What has no
-- route and no status has empty ones.
CREATE TABLE usage_hours_by_meter (
    account          TEXT NOT NULL,
    hour_us          BIGINT NOT NULL,
    meter            TEXT NOT NULL,
    key              TEXT NOT NULL,
    route            TEXT NOT NULL,
    status           TEXT NOT NULL,
    calls            BIGINT NOT NULL CHECK (calls >= 0),
    calls_unenforced BIGINT NOT NULL CHECK (calls_unenforced >= 0),
    units_debited    BIGINT NOT NULL CHECK (units_debited >= 0),
    units_charged    BIGINT NOT NULL CHECK (units_charged >= 0),
    units_refunded   BIGINT NOT NULL CHECK (units_refunded >= 0),
    newest_us        BIGINT NOT NULL,
    PRIMARY KEY (account, hour_us, meter, key, route, status),
    CHECK (meter = '' OR units_debited = 0)
);

INSERT INTO usage_hours_by_meter
SELECT account, hour_us, '', key, route, status, calls, calls_unenforced, units_debited, units_charged, units_refunded,
       newest_us
FROM usage_hours
ORDER BY account, hour_us, key, route, status;

DROP TABLE usage_hours;
ALTER TABLE usage_hours_by_meter RENAME TO usage_hours;

-- What was imported was in no hour's sum before.
INSERT INTO usage_hours
SELECT account, at_us / 3600000000 * 3600000000, '', key, '', '', SUM(calls), SUM(calls_unenforced), SUM(units_debited),
       SUM(units_charged), SUM(units_refunded), MAX(at_us)
FROM usage_lines
WHERE kind = 'imported'
GROUP BY account, at_us / 3600000000, key;

CREATE INDEX usage_hours_key ON usage_hours (account, key, hour_us);
CREATE INDEX usage_hours_hour ON usage_hours (hour_us, account);

-- The quotas: every ledger line summed by the period it was charged in.
CREATE TABLE usage_periods_by_meter (
    account          TEXT NOT NULL,
    meter            TEXT NOT NULL,
    period_start_us  BIGINT NOT NULL,
    period_end_us    BIGINT NOT NULL,
    key              TEXT NOT NULL,
    calls            BIGINT NOT NULL CHECK (calls >= 0),
    units_charged    BIGINT NOT NULL CHECK (units_charged >= 0),
    units_refunded   BIGINT NOT NULL CHECK (units_refunded >= 0),
    first_us         BIGINT NOT NULL,
    newest_us        BIGINT NOT NULL,
    PRIMARY KEY (account, meter, period_start_us, period_end_us, key)
);

INSERT INTO usage_periods_by_meter
SELECT account, '', period_start_us, period_end_us, key, calls, units_charged, units_refunded, first_us, newest_us
FROM usage_periods
ORDER BY account, period_start_us, period_end_us, key;

DROP TABLE usage_periods;
ALTER TABLE usage_periods_by_meter RENAME TO usage_periods;

CREATE INDEX usage_periods_key ON usage_periods (account, key, meter, period_start_us);
CREATE INDEX usage_periods_newest ON usage_periods (newest_us);

-- The id of the meter that a change is of, as limiters know it.
ALTER TABLE outbox ADD COLUMN meter BLOB;

-- Use that was reported, one row an event, kept so that none is counted twice. What it says of people is erased with
-- their account.
CREATE TABLE usage_events (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    key            TEXT NOT NULL,
    at_us          BIGINT NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    meters         TEXT NOT NULL,
    dimensions     TEXT NOT NULL,
    metadata       TEXT NOT NULL,
    PRIMARY KEY (account, id)
);

-- What histories group and filter events by; kept as long as the sums by the hour.
CREATE TABLE usage_dimensions (
    account TEXT NOT NULL,
    event   TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (account, event, name)
);

CREATE INDEX usage_dimensions_at ON usage_dimensions (at_us);

-- Secrets that all processes of a deployment share.
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL CHECK (length(value) = 32)
);

-- Mailed links, found by the hash of their token: each opens once. One that was used stays an hour, to count how many
-- its address was sent.
CREATE TABLE links (
    hash          BLOB PRIMARY KEY NOT NULL CHECK (length(hash) = 32),
    purpose       TEXT NOT NULL,
    email         TEXT NOT NULL,
    email_key     TEXT NOT NULL,
    account       TEXT,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    taken_at_us   BIGINT
);

CREATE INDEX links_email ON links (email_key, created_at_us);
CREATE INDEX links_account ON links (account) WHERE account IS NOT NULL;
CREATE INDEX links_expires ON links (expires_at_us);

-- Who is signed in, by the hash of the session's id.
CREATE TABLE sessions (
    hash          BLOB PRIMARY KEY NOT NULL CHECK (length(hash) = 32),
    account       TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL
);

CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_expires ON sessions (expires_at_us);

-- What customers are told, once each: a row stays when it was delivered, so that it is not told again. A channel's time
-- is when it is due there next; none where it was delivered or is not wanted.
CREATE TABLE notices (
    id               INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    account          TEXT NOT NULL,
    kind             TEXT NOT NULL,
    meter            TEXT NOT NULL,
    percent          BIGINT NOT NULL,
    key              TEXT NOT NULL,
    of_us            BIGINT NOT NULL,
    detail           TEXT NOT NULL,
    created_at_us    BIGINT NOT NULL,
    mail             BOOLEAN NOT NULL,
    mail_due_us      BIGINT,
    mail_failures    BIGINT NOT NULL,
    webhook          BOOLEAN NOT NULL,
    webhook_due_us   BIGINT,
    webhook_failures BIGINT NOT NULL
);

CREATE UNIQUE INDEX notices_once ON notices (account, kind, meter, percent, key, of_us);
CREATE INDEX notices_mail ON notices (mail_due_us, id) WHERE mail_due_us IS NOT NULL;
CREATE INDEX notices_webhook ON notices (webhook_due_us, id) WHERE webhook_due_us IS NOT NULL;
CREATE INDEX notices_created ON notices (created_at_us);

-- Calls kept one by one, where that is asked for. Their paths are erased with the account.
CREATE TABLE request_log (
    request         TEXT NOT NULL,
    node            TEXT NOT NULL,
    account         TEXT NOT NULL,
    key             TEXT NOT NULL,
    at_us           BIGINT NOT NULL,
    route           TEXT NOT NULL,
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    status          BIGINT NOT NULL,
    duration_us     BIGINT NOT NULL,
    units           BIGINT NOT NULL,
    period_start_us BIGINT,
    period_end_us   BIGINT,
    reason          TEXT,
    PRIMARY KEY (request, node)
);

CREATE INDEX request_log_account ON request_log (account, at_us);
CREATE INDEX request_log_at ON request_log (at_us);
