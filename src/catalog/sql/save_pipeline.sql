INSERT INTO etl_pipelines (name, identity, slot, source, destination, system_identifier, timeline, epoch, is_slot_made,
                           received_lsn, floor_lsn, merged_lsn, state_epoch, state_lsn, merge_intent_lsn, writer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (name) DO UPDATE SET
    identity = excluded.identity, slot = excluded.slot, source = excluded.source, destination = excluded.destination,
    system_identifier = excluded.system_identifier, timeline = excluded.timeline, epoch = excluded.epoch,
    is_slot_made = excluded.is_slot_made, received_lsn = excluded.received_lsn, floor_lsn = excluded.floor_lsn,
    merged_lsn = excluded.merged_lsn, state_epoch = excluded.state_epoch, state_lsn = excluded.state_lsn,
    merge_intent_lsn = excluded.merge_intent_lsn, writer = excluded.writer
