-- Which batches are stored: a batch that is sent again meets its row here and is dropped.
CREATE TABLE usage_batches (
    node     TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us   BIGINT NOT NULL,
    lines    BIGINT NOT NULL,
    PRIMARY KEY (node, sequence)
);

-- The ledger, only ever appended to: a line of kind `calls` comes from a batch, one of kind `imported` from a file.
-- Accounts and keys are named without a reference, for use is stored even where its owner is unknown. Whoever appends
-- holds an advisory lock until its commit and numbers its lines on from the newest, so ids are in the order of commits.
CREATE TABLE usage_lines (
    id               BIGINT PRIMARY KEY,
    kind             TEXT NOT NULL,
    at_us            BIGINT NOT NULL,
    node             TEXT COLLATE "C",
    sequence         BIGINT,
    account          TEXT COLLATE "C" NOT NULL,
    key              TEXT COLLATE "C" NOT NULL,
    route            TEXT COLLATE "C",
    status           TEXT COLLATE "C",
    period_start_us  BIGINT NOT NULL,
    period_end_us    BIGINT NOT NULL,
    calls            BIGINT NOT NULL CHECK (calls >= 0),
    calls_unenforced BIGINT NOT NULL CHECK (calls_unenforced >= 0),
    units_debited    BIGINT NOT NULL CHECK (units_debited >= 0),
    units_charged    BIGINT NOT NULL CHECK (units_charged >= 0),
    units_refunded   BIGINT NOT NULL CHECK (units_refunded >= 0)
);

CREATE INDEX usage_lines_account ON usage_lines (account, at_us, units_debited);
CREATE INDEX usage_lines_key ON usage_lines (account, key, at_us, units_debited);

-- Calls summed by the hour (UTC) their batch ended in: what histories and long windows are read from.
CREATE TABLE usage_hours (
    account          TEXT COLLATE "C" NOT NULL,
    hour_us          BIGINT NOT NULL,
    key              TEXT COLLATE "C" NOT NULL,
    route            TEXT COLLATE "C" NOT NULL,
    status           TEXT COLLATE "C" NOT NULL,
    calls            BIGINT NOT NULL CHECK (calls >= 0),
    calls_unenforced BIGINT NOT NULL CHECK (calls_unenforced >= 0),
    units_debited    BIGINT NOT NULL CHECK (units_debited >= 0),
    units_charged    BIGINT NOT NULL CHECK (units_charged >= 0),
    units_refunded   BIGINT NOT NULL CHECK (units_refunded >= 0),
    newest_us        BIGINT NOT NULL,
    PRIMARY KEY (account, hour_us, key, route, status)
) WITH (fillfactor = 80);

CREATE INDEX usage_hours_key ON usage_hours (account, key, hour_us);

-- The quota: every ledger line summed by the period it was charged in.
CREATE TABLE usage_periods (
    account          TEXT COLLATE "C" NOT NULL,
    period_start_us  BIGINT NOT NULL,
    period_end_us    BIGINT NOT NULL,
    key              TEXT COLLATE "C" NOT NULL,
    calls            BIGINT NOT NULL CHECK (calls >= 0),
    units_charged    BIGINT NOT NULL CHECK (units_charged >= 0),
    units_refunded   BIGINT NOT NULL CHECK (units_refunded >= 0),
    first_us         BIGINT NOT NULL,
    newest_us        BIGINT NOT NULL,
    PRIMARY KEY (account, period_start_us, period_end_us, key)
) WITH (fillfactor = 80);

CREATE INDEX usage_periods_key ON usage_periods (account, key, period_start_us);
