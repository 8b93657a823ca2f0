SELECT identity, slot, source, destination, system_identifier, timeline, epoch, is_slot_made, received_lsn, floor_lsn,
       merged_lsn, state_epoch, state_lsn, merge_intent_lsn, writer
  FROM etl_pipelines WHERE name = $1
