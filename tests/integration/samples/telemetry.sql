-- A store of events and measurements: uuid keys, jsonb documents that grow, hstore and ltree, time partitions that are published one
-- by one, tables without keys, an outbox that is emptied as fast as it fills. Made for the tests; for PostgreSQL 14 to 18.
create extension hstore;
create extension ltree;
create extension citext;
create schema telemetry;
set search_path = telemetry, public;

create type severity as enum ('debug', 'info', 'warn', 'fatal');
create type point3 as (x float8, y float8, z float4);
create domain celsius as numeric(6, 2) check (value >= -273.15);

create table device (
    device_id uuid primary key default gen_random_uuid(), name citext not null unique, path ltree not null, address inet, mac macaddr8,
    labels hstore not null default '', settings jsonb not null default '{}', firmware bit varying(64), installed interval, place point3,
    seen_at timestamptz(3), readings bigint not null default 0);
create table reading (
    device_id uuid not null, at timestamptz not null, temperature celsius, raw real[], flags bit(8) not null default b'00000000', quality "char",
    primary key (device_id, at)) partition by range (at);
create table reading_w1 partition of reading for values from ('2026-11-01 00:00+00') to ('2026-11-08 00:00+00');
create table reading_w2 partition of reading for values from ('2026-11-08 00:00+00') to ('2026-11-15 00:00+00');
create table reading_w3 partition of reading for values from ('2026-11-15 00:00+00') to ('2026-11-22 00:00+00');
create table reading_rest partition of reading default;
-- Nothing but inserts, and no key.
create table event (at timestamptz not null default clock_timestamp(), stream text not null, version int not null, kind text, severity severity, body json);
create unique index on event (stream, version);
-- An index that is not the primary key, as the identity of rows.
create table aggregate (aggregate_no bigint primary key generated always as identity, stream text not null, version int not null, state jsonb not null, history jsonb);
create unique index aggregate_stream on aggregate (stream);
alter table aggregate replica identity using index aggregate_stream;
alter table aggregate alter column history set storage external;
-- Rows that may be equal.
create table tally (day date not null, kind text, amount numeric, at time not null);
alter table tally replica identity full;
create table outbox (outbox_id bigint primary key generated always as identity, topic text not null, payload bytea not null, headers hstore);
create table alarm (device_id uuid references device on delete cascade, since timestamptz, upto timestamptz, limits numrange[], note xml, primary key (device_id, since));
create unlogged table scratch (n int primary key, what text);

create view latest as select distinct on (device_id) * from reading order by device_id, at desc;

-- Every event moves its aggregate on, and leaves a message.
create function apply_event() returns trigger language plpgsql as $$
begin
    insert into telemetry.aggregate as a (stream, version, state, history) values (new.stream, new.version, new.body::jsonb, jsonb_build_array(new.body))
    on conflict (stream) do update set version = excluded.version, state = a.state || excluded.state,
        history = case when new.version % 3 = 0 then (case when pg_column_size(a.history) > 30000 then '[]' else a.history end) || excluded.history else a.history end;
    insert into telemetry.outbox (topic, payload, headers) values (new.stream, convert_to(new.body::text, 'UTF8'), hstore(array['kind', 'v'], array[new.kind, new.version::text]));
    insert into telemetry.tally values (new.at::date, new.kind, new.version % 4, date_trunc('minute', new.at)::time);
    return null;
end $$;
create trigger apply_event after insert on event for each row execute function apply_event();
create function see() returns trigger language plpgsql as $$
begin
    update telemetry.device set seen_at = new.at, readings = readings + 1 where device_id = new.device_id;
    if new.temperature > 90 then
        insert into telemetry.alarm values (new.device_id, new.at, 'infinity', array[numrange(90, null), numrange(null, -20.5, '(]')], xmlelement(name hot, xmlattributes(new.temperature as by)))
            on conflict (device_id, since) do update set upto = excluded.since;
    end if;
    return new;
end $$;
create trigger see before insert on reading for each row execute function see();

-- What the clients call.
create function fill(devices int, readings int) returns void language plpgsql as $$
begin
    insert into telemetry.device (name, path, address, mac, labels, settings, firmware, installed, place)
        select 'Device ' || i, ('site_' || i % 3 || '.rack.' || i)::ltree, ('10.0.' || i % 256 || '.1/24')::inet, '08:00:2b:01:02:03:04:05',
               hstore(array['n', 'empty'], array[i::text, null]), jsonb_build_object('rate', i / 3.0, 'nested', jsonb_build_object('on', true, 'list', jsonb_build_array(1, null, 'ü'))),
               (i % 64)::bit(6), make_interval(days => i, secs => i / 7.0), row(i, -i / 3.0, 'NaN')::telemetry.point3 from generate_series(1, devices) i;
    insert into telemetry.reading (device_id, at, temperature, raw, quality)
        select device_id, timestamptz '2026-11-01 00:00+00' + (i || ' hours')::interval, i % 100, array[i, 'NaN', null, i / 3.0], chr(65 + i % 26)::"char"
        from telemetry.device, generate_series(1, fill.readings) i;
end $$;

create function measure(n int, at timestamptz, value numeric) returns void language sql as $$
    insert into telemetry.reading (device_id, at, temperature, raw, flags)
        select device_id, measure.at, value, array[value::real, 'Infinity'], (n % 256)::bit(8) from telemetry.device where name = 'device ' || n
    on conflict (device_id, at) do update set temperature = excluded.temperature
$$;

create function correct(n int, days int) returns void language sql as $$
    -- Rows go from one partition to another.
    update telemetry.reading r set at = r.at + make_interval(days => correct.days), quality = 'c' from telemetry.device d
        where d.device_id = r.device_id and d.name = 'device ' || n and extract(hour from r.at) = n % 24
$$;

create function happen(stream text, kind text, body json) returns void language sql as $$
    insert into telemetry.event (stream, version, kind, severity, body)
        select happen.stream, coalesce(max(version), 0) + 1, happen.kind, (enum_range(null::telemetry.severity))[1 + length(happen.kind) % 4], happen.body
        from telemetry.event e where e.stream = happen.stream
$$;

create function drain(count int) returns void language sql as $$
    delete from telemetry.outbox where outbox_id in (select outbox_id from telemetry.outbox order by outbox_id limit count for update skip locked)
$$;

create function configure(n int, path text[], value jsonb) returns void language sql as $$
    update telemetry.device set settings = jsonb_set(settings, configure.path, value), labels = labels || hstore('changed', n::text) where name = 'device ' || n
$$;

create function replace_device(n int) returns void language plpgsql as $$
declare new_id uuid := gen_random_uuid();
begin
    delete from telemetry.alarm a using telemetry.device d where d.device_id = a.device_id and d.name = 'device ' || n;
    update telemetry.device set device_id = new_id, firmware = firmware || b'1' where name = 'device ' || n and length(firmware) < 60;
end $$;

create function recount(which text) returns void language sql as $$
    update telemetry.tally set amount = amount + 1 where kind = which and amount < 2;
    delete from telemetry.tally where kind = which and amount > 3
$$;

create function forget(which text) returns void language plpgsql as $$
begin
    if which = 'outbox' then
        truncate telemetry.outbox restart identity;
    else
        truncate telemetry.tally, telemetry.scratch;
    end if;
    insert into telemetry.scratch values (1, which) on conflict do nothing;
end $$;
