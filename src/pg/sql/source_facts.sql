-- What a source says about itself: one row. $1 publication, $2 slot. Servers 14 to 18.
-- to_jsonb(row) ->> 'column' stands for columns that not every version has.
select
    current_database() as database,
    current_user as "user",
    (select pg_encoding_to_char(encoding) from pg_database where datname = current_database()) as encoding,
    current_setting('wal_level') as wal_level,
    (select system_identifier::text from pg_control_system()) as system_identifier,
    -- After a promotion the control file names the old timeline until the first checkpoint; the name of the WAL file
    -- being written is right at once, but cannot be had on a standby.
    case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())
         else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline,
    current_setting('server_version_num') as server_version,
    current_setting('max_replication_slots') as max_replication_slots,
    (select count(*) from pg_replication_slots) as replication_slots_used,
    current_setting('max_wal_senders') as max_wal_senders,
    (select count(*) from pg_stat_replication) as wal_senders_used,
    (select setting from pg_settings where name = 'wal_sender_timeout') as wal_sender_timeout_ms,
    (select setting from pg_settings where name = 'max_slot_wal_keep_size') as max_slot_wal_keep_size_mb,
    -- Managed services give the right to replicate by membership instead of the attribute.
    (select rolsuper or rolreplication from pg_roles where rolname = current_user)
        or exists (select from pg_roles where rolname in ('rds_replication', 'rds_superuser', 'cloudsqlsuperuser')
                   and pg_has_role(current_user, oid, 'member')) as may_replicate,
    -- By the roles that each of them makes.
    (select case rolname when 'rds_superuser' then 'rds' when 'cloudsqlsuperuser' then 'cloudsql'
                         when 'azure_pg_admin' then 'azure' else 'supabase' end
     from pg_roles where rolname in ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'supabase_admin') limit 1) as service,
    pg_is_in_recovery() as in_recovery,
    p.oid is not null as publication_exists,
    p.pubinsert as publication_inserts,
    p.pubupdate as publication_updates,
    p.pubdelete as publication_deletes,
    p.pubtruncate as publication_truncates,
    p.pubviaroot as publication_via_root,
    s.slot_name is not null as slot_exists,
    s.active as slot_is_active,
    s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database() as slot_is_logical_here,
    s.plugin as slot_plugin,
    case when to_jsonb(s) ->> 'invalidation_reason' is not null then 'lost' else s.wal_status end as slot_wal_status,
    s.confirmed_flush_lsn as slot_confirmed_lsn,
    -- Where the next record goes: every commit that anybody can see lies below it. What was written so far may be less
    -- (synchronous_commit = off).
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end as current_lsn,
    (select count(*) from pg_prepared_xacts where database = current_database()) as prepared_transactions
from (select) as one
left join pg_publication as p on p.pubname = $1::text
left join pg_replication_slots as s on s.slot_name = $2::text
