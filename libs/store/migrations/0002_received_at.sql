-- For the accounting of a tick's way: how long after its arrival a firing was published.
ALTER TABLE outbox ADD COLUMN received_at bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN outbox.received_at IS 'when the trade arrived at the socket, Unix nanoseconds; 0 where that is not known';
