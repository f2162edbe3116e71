-- Alerts, their firings, and how far the log was followed.
-- Columns stand widest first: PostgreSQL pads between a narrow one and a wide one.

-- Which life of a topic everything here speaks of.
CREATE TABLE logs (
    topic text PRIMARY KEY,
    log_id uuid NOT NULL UNIQUE,
    partitions integer NOT NULL CHECK (partitions > 0)
);

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL CHECK (user_id > 0),
    target_price double precision NOT NULL CHECK (target_price > 0 AND target_price < 'infinity'),
    armed_offset bigint NOT NULL CHECK (armed_offset >= 0),
    version bigint NOT NULL DEFAULT 1,
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    triggered_at timestamptz,
    armed_log uuid NOT NULL,
    generation integer NOT NULL DEFAULT 1 CHECK (generation > 0),
    partition integer NOT NULL CHECK (partition >= 0),
    condition smallint NOT NULL CHECK (condition BETWEEN 1 AND 2),
    status smallint NOT NULL DEFAULT 1 CHECK (status BETWEEN 1 AND 5),
    symbol text NOT NULL CHECK (octet_length(symbol) BETWEEN 1 AND 64)
);

COMMENT ON COLUMN alerts.condition IS '1 ABOVE (price >= target), 2 BELOW (price <= target)';
COMMENT ON COLUMN alerts.status IS '1 ACTIVE, 2 PAUSED, 3 TRIGGERED, 4 EXPIRED, 5 DELETED (kept as a tombstone)';
COMMENT ON COLUMN alerts.generation IS 'moves with every change of what decides; a firing is unique per generation';
COMMENT ON COLUMN alerts.partition IS 'of the topic, where the symbol''s trades are';
COMMENT ON COLUMN alerts.armed_offset IS 'fires only on trades of records at this offset or later, of the log armed_log';
COMMENT ON COLUMN alerts.version IS 'moves with every change of the row; a reader keeps the highest';
COMMENT ON COLUMN alerts.changed_xid IS 'the transaction of the last change: every UPDATE sets it to pg_current_xact_id()';

-- What the owner of a partition loads.
CREATE INDEX alerts_of_partition ON alerts (partition) WHERE status = 1;
-- What has changed since a snapshot.
CREATE INDEX alerts_changed ON alerts (changed_xid);
-- Lists: a user's, and everybody's that are active.
CREATE INDEX alerts_of_user ON alerts (user_id, id);
CREATE INDEX alerts_active ON alerts (id) WHERE status = 1;

-- One row for each time that an alert fired. No foreign key: alerts are never removed, and the
-- check would cost more than the row.
CREATE TABLE firings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL,
    user_id bigint NOT NULL,
    target_price double precision NOT NULL,
    price double precision NOT NULL,
    trade_time bigint NOT NULL,
    record_offset bigint NOT NULL,
    record_index bigint NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT now(),
    log_id uuid NOT NULL,
    generation integer NOT NULL,
    partition integer NOT NULL,
    condition smallint NOT NULL,
    symbol text NOT NULL,
    UNIQUE (alert_id, generation)
);

COMMENT ON TABLE firings IS 'symbol, condition and target_price as they were when it fired';
COMMENT ON COLUMN firings.trade_time IS 'event time, Unix milliseconds';
COMMENT ON COLUMN firings.record_offset IS 'with log_id, partition and record_index: the position of the trade';

-- Firings that are still to be published. A row lives for moments and is leased in place, so
-- half of each page is kept free for its new version.
CREATE TABLE outbox (
    firing_id bigint PRIMARY KEY,
    leased_until timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- How far each partition was evaluated, and what its conditions need to know of the trades before.
CREATE TABLE checkpoints (
    log_id uuid NOT NULL,
    partition integer NOT NULL,
    last_offset bigint NOT NULL,
    fingerprint bigint NOT NULL,
    history bytea NOT NULL,
    seen_alerts pg_snapshot,
    PRIMARY KEY (log_id, partition)
);

COMMENT ON COLUMN checkpoints.seen_alerts IS 'every alert as of this snapshot was evaluated up to last_offset; null where none was';
COMMENT ON COLUMN checkpoints.fingerprint IS 'of the record at last_offset, so that another log is noticed';
