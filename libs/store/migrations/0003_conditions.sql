-- Every condition, alerts that fire again and again, expiry, notes, quotas, snapshots, and firings
-- that can be followed.

ALTER TABLE alerts
    ALTER COLUMN target_price DROP NOT NULL,
    DROP CONSTRAINT alerts_condition_check,
    ADD COLUMN lower_price double precision CHECK (lower_price > 0 AND lower_price < 'infinity'),
    ADD COLUMN upper_price double precision CHECK (upper_price > lower_price AND upper_price < 'infinity'),
    ADD COLUMN percent double precision CHECK (percent >= 0.001 AND percent <= 1000000),
    ADD COLUMN hysteresis_percent double precision CHECK (hysteresis_percent >= 0.001 AND hysteresis_percent <= 50),
    ADD COLUMN cooldown_ms bigint CHECK (cooldown_ms BETWEEN 0 AND 4294967295),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN reference_price double precision CHECK (reference_price > 0 AND reference_price < 'infinity'),
    ADD COLUMN asleep_until bigint,
    ADD COLUMN armed_index bigint NOT NULL DEFAULT 0 CHECK (armed_index BETWEEN 0 AND 4294967295),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN revision integer NOT NULL DEFAULT 0 CHECK (revision BETWEEN 0 AND 8388607),
    ADD COLUMN latched boolean NOT NULL DEFAULT false,
    ADD COLUMN note text CHECK (octet_length(note) BETWEEN 1 AND 4096),
    ADD CONSTRAINT alerts_condition_check CHECK (
        CASE
            WHEN condition BETWEEN 1 AND 5 THEN target_price IS NOT NULL
            WHEN condition IN (6, 7) THEN lower_price IS NOT NULL AND upper_price IS NOT NULL
            WHEN condition BETWEEN 8 AND 11 THEN percent IS NOT NULL
            ELSE false
        END
    ),
    -- What moves an alert on without changing it touches no index: half of such writes are to stay
    -- on the page.
    SET (fillfactor = 90);

COMMENT ON COLUMN alerts.condition IS '1 ABOVE, 2 BELOW, 3 CROSSES_ABOVE, 4 CROSSES_BELOW, 5 CROSSES (target_price); 6 ENTERS_RANGE, 7 LEAVES_RANGE (lower_price, upper_price); 8 RISES_PERCENT, 9 FALLS_PERCENT, 10 TRAILING_DROP, 11 TRAILING_RISE (percent)';
COMMENT ON COLUMN alerts.cooldown_ms IS 'null: fires once; else every time, but not before so long after the trade it fired on';
COMMENT ON COLUMN alerts.hysteresis_percent IS 'how far a price has to go back before it can fire again; null: off the line';
COMMENT ON COLUMN alerts.expires_at IS 'trades at or after that time do not fire it; null: never';
COMMENT ON COLUMN alerts.revision IS 'moves, with generation, with every change of what decides but a firing';
COMMENT ON COLUMN alerts.generation IS 'moves with every change of what decides; a firing is unique per generation';
COMMENT ON COLUMN alerts.armed_index IS 'of the trade within the record at armed_offset; an alert that has not fired may be moved on to how it stands at a later trade';
COMMENT ON COLUMN alerts.latched IS 'has fired, and cannot again before a price has gone back';
COMMENT ON COLUMN alerts.asleep_until IS 'end of its cooldown: event time, Unix milliseconds';
COMMENT ON COLUMN alerts.reference_price IS 'the price that a percent counts from, once it is known';

CREATE INDEX alerts_by_status ON alerts (status, id) WHERE status IN (2, 3, 4);
CREATE INDEX alerts_of_symbol ON alerts (symbol, id);
CREATE INDEX alerts_expiring ON alerts (expires_at, id) WHERE status = 1 AND expires_at IS NOT NULL;

ALTER TABLE firings
    ALTER COLUMN target_price DROP NOT NULL,
    ADD COLUMN lower_price double precision,
    ADD COLUMN upper_price double precision,
    ADD COLUMN percent double precision,
    ADD COLUMN reference_price double precision,
    ADD COLUMN received_at bigint NOT NULL DEFAULT 0,
    ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN horizon xid8 NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot());

COMMENT ON TABLE firings IS 'symbol and condition as they were when it fired';
COMMENT ON COLUMN firings.reference_price IS 'what a percent was counted from';
COMMENT ON COLUMN firings.received_at IS 'when the trade arrived at the socket, Unix nanoseconds; 0 where that is not known';
COMMENT ON COLUMN firings.xid IS 'the transaction that stored it, so that a reader skips none that was uncommitted';
COMMENT ON COLUMN firings.horizon IS 'every transaction before this one had ended when it was stored';

ALTER TABLE outbox DROP COLUMN received_at;

CREATE INDEX firings_by_xid ON firings (xid, id);
CREATE INDEX firings_of_user ON firings (user_id, id);

-- Where a quota is set: how many alerts a user has, the deleted ones left out. The row of user 0,
-- whom there is not, says that they are counted.
CREATE TABLE quotas (
    user_id bigint PRIMARY KEY,
    alerts bigint NOT NULL CHECK (alerts >= 0)
);

-- Snapshots of partitions that instances keep on their disks: one that is not here is of another
-- database, or of another past of this one.
CREATE TABLE snapshots (
    id uuid PRIMARY KEY,
    log_id uuid NOT NULL,
    partition integer NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    -- A snapshot's cursor counts the transactions of one cluster: in another one, to which a dump
    -- was restored, it would skip what is changed there.
    cluster bigint NOT NULL DEFAULT ((pg_control_system()).system_identifier)
);

CREATE INDEX snapshots_of_partition ON snapshots (log_id, partition, taken_at);
