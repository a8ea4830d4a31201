-- Buckets and windows as the last graceful stop left them; taken out again at the next start.
CREATE TABLE limiter_state (
    subject TEXT PRIMARY KEY NOT NULL,
    state   TEXT NOT NULL
);

-- Who changed what and when: one row a change, written in the transaction that made it.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at_us    BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    account  TEXT,
    key      TEXT,
    detail   TEXT NOT NULL
);

CREATE INDEX audit_account ON audit (account, sequence);

-- Requests that carried an `Idempotency-Key`, for 24 h: reserved while `status` is null, answered from then on.
CREATE TABLE idempotency (
    scope         TEXT NOT NULL,
    key           TEXT NOT NULL,
    request_hash  TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    status        BIGINT,
    body          TEXT,
    held_secret   BOOLEAN,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_created ON idempotency (created_at_us);
