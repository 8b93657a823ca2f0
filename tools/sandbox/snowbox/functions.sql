-- What Snowflake's conversions and functions do and PostgreSQL's do not. A failure has SQLSTATE SF000 and carries
-- Snowflake's code and SQLSTATE in its DETAIL (errors.py reads them). They are STABLE, not IMMUTABLE: PostgreSQL
-- would otherwise evaluate a constant call while planning, also in a branch of CASE that is never taken.
CREATE SCHEMA IF NOT EXISTS sf;

CREATE OR REPLACE FUNCTION sf.text_to_number(value text) RETURNS numeric LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value !~ '^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*$' THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Numeric value ''%s'' is not recognized', left(value, 200)), DETAIL = '100038 22018';
    END IF;
    RETURN value::numeric;
END $$;

CREATE OR REPLACE FUNCTION sf.float_to_number(value double precision) RETURNS numeric LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value IN ('NaN', 'Infinity', '-Infinity') THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Numeric value ''%s'' is not recognized', value), DETAIL = '100038 22018';
    END IF;
    RETURN value::text::numeric;
END $$;

CREATE OR REPLACE FUNCTION sf.text_to_float(value text) RETURNS double precision LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF lower(trim(value)) IN ('nan', 'inf', '-inf', '+inf', 'infinity', '-infinity', '+infinity') THEN
        RETURN lower(trim(value))::double precision;
    END IF;
    RETURN sf.text_to_number(value)::double precision;
END $$;

CREATE OR REPLACE FUNCTION sf.text_to_boolean(value text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF lower(value) IN ('true', 't', 'yes', 'y', 'on', '1') THEN RETURN true; END IF;
    IF lower(value) IN ('false', 'f', 'no', 'n', 'off', '0') THEN RETURN false; END IF;
    RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Boolean value ''%s'' is not recognized', left(value, 200)), DETAIL = '100037 22018';
END $$;

CREATE OR REPLACE FUNCTION sf.text_to_binary(value text) RETURNS bytea LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value !~ '^([0-9A-Fa-f]{2})*$' THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('The following string is not a legal hex-encoded value: ''%s''', left(value, 200)), DETAIL = '100115 22000';
    END IF;
    RETURN decode(value, 'hex');
END $$;

CREATE OR REPLACE FUNCTION sf.base64_to_binary(value text) RETURNS bytea LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value !~ '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$' THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('The following string is not a legal base64-encoded value: ''%s''', left(value, 200)), DETAIL = '100115 22000';
    END IF;
    RETURN decode(value, 'base64');
END $$;

-- kind: date, timestamp (without zone) or timestamptz. Only ISO forms: fewer than Snowflake's AUTO takes.
CREATE OR REPLACE FUNCTION sf.checked_moment(value text, kind text) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    zone text := CASE WHEN kind = 'timestamptz' THEN '( ?(Z|[+-]\d{2}(:?\d{2})?))?' ELSE '' END;
BEGIN
    IF value !~ ('^\d{4}-\d{1,2}-\d{1,2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{0,9})?)?' || zone || ')?$') OR value LIKE '0000%' OR value ~ '\.\d{6}\d*[1-9]' THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000',
            MESSAGE = format('%s ''%s'' is not recognized', CASE WHEN kind = 'date' THEN 'Date' ELSE 'Timestamp' END, left(value, 200)),
            DETAIL = CASE WHEN kind = 'date' THEN '100040 22007' ELSE '100035 22007' END;
    END IF;
    RETURN value;
END $$;

CREATE OR REPLACE FUNCTION sf.text_to_date(value text) RETURNS date LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sf.checked_moment(value, 'date')::timestamp::date $$;

CREATE OR REPLACE FUNCTION sf.text_to_timestamp(value text) RETURNS timestamp LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sf.checked_moment(value, 'timestamp')::timestamp $$;

CREATE OR REPLACE FUNCTION sf.text_to_timestamptz(value text) RETURNS timestamptz LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sf.checked_moment(value, 'timestamptz')::timestamptz $$;

CREATE OR REPLACE FUNCTION sf.text_to_time(value text) RETURNS time LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value !~ '^([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{0,6}0*)?)?$' THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Time ''%s'' is not recognized', left(value, 200)), DETAIL = '100108 22007';
    END IF;
    RETURN value::time;
END $$;

-- Snowflake cuts the digits of a fraction that the type has no room for; PostgreSQL rounds.
CREATE OR REPLACE FUNCTION sf.cut_timestamp(value timestamp, digits integer) RETURNS timestamp LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT date_trunc('second', value) + trunc(extract(microseconds FROM value)::bigint % 1000000 / 1000000.0, digits) * interval '1 second' $$;
CREATE OR REPLACE FUNCTION sf.cut_timestamp(value timestamptz, digits integer) RETURNS timestamptz LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT date_trunc('second', value) + trunc(extract(microseconds FROM value)::bigint % 1000000 / 1000000.0, digits) * interval '1 second' $$;
CREATE OR REPLACE FUNCTION sf.cut_time(value time, digits integer) RETURNS time LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT date_trunc('second', value)::time + trunc(extract(microseconds FROM value)::bigint % 1000000 / 1000000.0, digits) * interval '1 second' $$;

CREATE OR REPLACE FUNCTION sf.fit_varchar(value text, length_max integer) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF char_length(value) > length_max THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('String ''%s'' is too long and would be truncated', left(value, 200)), DETAIL = '100078 22000';
    END IF;
    RETURN value;
END $$;

CREATE OR REPLACE FUNCTION sf.fit_binary(value bytea, length_max integer) RETURNS bytea LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF octet_length(value) > length_max THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = 'Binary value is too long and would be truncated', DETAIL = '100145 22000';
    END IF;
    RETURN value;
END $$;

-- 16 hex digits as a number without a sign.
CREATE OR REPLACE FUNCTION sf.unsigned64(digits text) RETURNS numeric LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN number < 0 THEN number + 18446744073709551616 ELSE number END
      FROM (SELECT ('x' || digits)::bit(64)::bigint::numeric AS number) AS signed $$;

-- JSON as Snowflake writes it: no blanks, the keys of an object in order.
CREATE OR REPLACE FUNCTION sf.compact_json(value jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'object' THEN '{' || COALESCE((SELECT string_agg(to_json(key)::text || ':' || sf.compact_json(item.value), ',' ORDER BY key COLLATE "C") FROM jsonb_each(value) AS item(key, value)), '') || '}'
        WHEN 'array' THEN '[' || COALESCE((SELECT string_agg(sf.compact_json(item), ',' ORDER BY place) FROM jsonb_array_elements(value) WITH ORDINALITY AS element(item, place)), '') || ']'
        WHEN 'number' THEN trim_scale(value::numeric)::text
        ELSE value::text
    END;
END $$;

CREATE OR REPLACE FUNCTION sf.cast_failed(value jsonb, type_name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Failed to cast variant value %s to %s', left(sf.compact_json(value), 200), type_name), DETAIL = '100071 22000';
END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_text(value jsonb) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'null' THEN NULL WHEN 'string' THEN value #>> '{}' ELSE sf.compact_json(value) END $$;

-- A scalar in a VARIANT as text, for a conversion that goes on from there; JSON null becomes SQL NULL.
CREATE OR REPLACE FUNCTION sf.variant_scalar(value jsonb, type_name text) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'null' THEN NULL WHEN jsonb_typeof(value) IN ('string', 'number') THEN value #>> '{}' ELSE sf.cast_failed(value, type_name) END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_number(value jsonb) RETURNS numeric LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'number' THEN value::numeric WHEN 'boolean' THEN value::boolean::integer ELSE sf.text_to_number(sf.variant_scalar(value, 'FIXED')) END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_float(value jsonb) RETURNS double precision LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'boolean' THEN value::boolean::integer ELSE sf.text_to_float(sf.variant_scalar(value, 'REAL')) END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_boolean(value jsonb) RETURNS boolean LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'boolean' THEN value::boolean WHEN 'number' THEN value::numeric <> 0 ELSE sf.text_to_boolean(sf.variant_scalar(value, 'BOOLEAN')) END $$;

-- Only strings become dates and times: a number would be a count of seconds or more in Snowflake, which nobody should rely on here.
CREATE OR REPLACE FUNCTION sf.variant_moment(value jsonb, type_name text) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'null' THEN NULL WHEN 'string' THEN value #>> '{}' ELSE sf.cast_failed(value, type_name) END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_binary(value jsonb) RETURNS bytea LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sf.text_to_binary(sf.variant_moment(value, 'BINARY')) $$;

CREATE OR REPLACE FUNCTION sf.variant_to_array(value jsonb) RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'null' THEN NULL WHEN 'array' THEN value ELSE jsonb_build_array(value) END $$;

CREATE OR REPLACE FUNCTION sf.variant_to_object(value jsonb) RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'null' THEN NULL WHEN 'object' THEN value ELSE sf.cast_failed(value, 'OBJECT')::jsonb END $$;

CREATE OR REPLACE FUNCTION sf.float_to_variant(value double precision) RETURNS jsonb LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value IN ('NaN', 'Infinity', '-Infinity') THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = 'The stand-in keeps no NaN or infinity in a VARIANT', DETAIL = '000002 0A000';
    END IF;
    RETURN to_jsonb(value);
END $$;

CREATE OR REPLACE FUNCTION sf.parse_json(value text) RETURNS jsonb LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF trim(value) = '' THEN RETURN NULL; END IF;
    RETURN value::jsonb;
EXCEPTION WHEN invalid_text_representation OR untranslatable_character THEN
    RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = format('Error parsing JSON: %s', left(value, 200)), DETAIL = '100069 22P02';
END $$;

CREATE OR REPLACE FUNCTION sf.element(value jsonb, place numeric) RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN place >= 0 AND place < 2147483647 AND jsonb_typeof(value) = 'array' THEN value -> place::integer END $$;

CREATE OR REPLACE FUNCTION sf.member(value jsonb, key text) RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'object' THEN value -> key END $$;

CREATE OR REPLACE FUNCTION sf.array_contains(value jsonb, elements jsonb) RETURNS boolean LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT EXISTS (SELECT FROM jsonb_array_elements(elements) AS e(item) WHERE item = value) $$;

CREATE OR REPLACE FUNCTION sf.type_of(value jsonb) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'null' THEN 'NULL_VALUE' WHEN 'string' THEN 'VARCHAR' WHEN 'number' THEN CASE WHEN value::numeric = trunc(value::numeric) THEN 'INTEGER' ELSE 'DECIMAL' END
        ELSE upper(jsonb_typeof(value)) END $$;

-- PostgreSQL iterates without end; Snowflake stops at 100.
CREATE OR REPLACE FUNCTION sf.next_iteration(depth integer) RETURNS integer LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF depth >= 100 THEN
        RAISE EXCEPTION USING ERRCODE = 'SF000', MESSAGE = 'Recursion exceeded max iteration count (100)', DETAIL = '100189 57014';
    END IF;
    RETURN depth + 1;
END $$;

-- What a try_ function wraps: the same conversion, NULL where that fails.
CREATE OR REPLACE FUNCTION sf.attempt(conversion text, value text) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SELECT (%s)::text', conversion) INTO answer USING value;
    RETURN answer;
EXCEPTION WHEN SQLSTATE 'SF000' OR data_exception THEN
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION sf.uuid() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT gen_random_uuid()::text $$;
