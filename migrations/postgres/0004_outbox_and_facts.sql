-- Changes that a fleet has not heard of yet: a row is written in the transaction of its change and taken out once told.
CREATE TABLE outbox (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at_us   BIGINT NOT NULL,
    kind            TEXT NOT NULL,
    hash            BYTEA,
    account         TEXT COLLATE "C",
    key             TEXT COLLATE "C",
    period_start_us BIGINT,
    period_end_us   BIGINT,
    units           BIGINT,
    position        BIGINT
);

-- What is known of the database itself: its `id`, and what it was copied from.
CREATE TABLE facts (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

INSERT INTO facts (name, value) VALUES ('id', replace(gen_random_uuid()::text, '-', ''));
