"""The comparison's own rules: what is equal, what is not, and what the target cannot hold."""
import decimal

import pytest

from compare_values import Kind, Unfit, parse_array

D = decimal.Decimal


def numeric(precision, scale):
    return Kind("numeric", (precision << 16 | scale & 0x7FF) + 4)


EQUAL = [
    (Kind("bool"), "t", "true"),
    (Kind("int4"), "-5", "-5"),
    (Kind("int8"), "9223372036854775807", "9223372036854775807"),
    (numeric(10, 2), "12.50", "12.5"),
    (numeric(5, -2), "1200", "1200"),
    (numeric(40, 2), "12.50", "12.50"),
    (Kind("numeric"), "1.5", "1.500000000"),
    (Kind("float8"), "0.1", "0.1"),
    (Kind("float8"), "1e+300", "1.0000000000000000e+300"),
    (Kind("float8"), "NaN", "NaN"),
    (Kind("float8"), "-Infinity", "-inf"),
    (Kind("text"), " a  ", " a  "),
    (Kind("bytea"), "\\x00ff", "00FF"),
    (Kind("date"), "1970-01-02", "1"),
    (Kind("date"), "0001-01-01", "-719162"),
    (Kind("time"), "13:01:02.000001", "46862.000001000"),
    (Kind("timestamp"), "1969-12-31 23:59:59.5", "-0.500000000"),
    (Kind("timestamp"), "2026-11-23 01:02:03", "1795395723.000000000"),
    (Kind("timestamptz"), "2026-11-23 01:02:03+00", "1795395723.000000000 1440"),
    (Kind("jsonb"), '{"a": [1, 2.50, null, true, "x"]}', '{"a":[1.0,2.5,null,true,"x"]}'),
    (Kind("json"), "null", "null"),
    (Kind("uuid"), "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    (Kind("interval"), "P1DT2S", "P1DT2S"),
    (Kind("_int4", element=Kind("int4")), "{1,NULL,3}", "[1, null, \"3\"]"),
    (Kind("_text", element=Kind("text")), '{"a\\"b",NULL,"NULL",""}', '["a\\"b",null,"NULL",""]'),
    (Kind("_bool", element=Kind("bool")), "{t,f}", "[true,false]"),
    (Kind("_bytea", element=Kind("bytea")), '{"\\\\x00ff"}', '["AP8="]'),
    (Kind("_timestamptz", element=Kind("timestamptz")), '{"2026-11-23 01:02:03+00"}', '["2026-11-23 01:02:03.000000Z"]'),
    (Kind("_jsonb", element=Kind("jsonb")), '{"[1, 2]","{\\"a\\": 1}",NULL}', '[[1,2],{"a":1},null]'),
    (Kind("int4range"), "[1,5)", "[1,5)"),
    (Kind("_int4range", element=Kind("int4range")), '{"[1,5)"}', '["[1,5)"]'),
    (Kind("_box", element=Kind("box"), delimiter=";"), "{(1,1),(0,0);(2,2),(1,1)}", '["(1,1),(0,0)","(2,2),(1,1)"]'),
    (Kind("c", fields=[("a", Kind("int4")), ("b", Kind("text"))]), '(1,"x ""y\\\\")', '{"a":1,"b":"x \\"y\\\\"}'),
    (Kind("c", fields=[("a", Kind("int4")), ("b", Kind("text"))]), '(,"")', '{"a":null,"b":""}'),
    (Kind("c", fields=[("a", Kind("_int4", element=Kind("int4")))]), '("{1,NULL}")', '{"a":[1,null]}'),
    (Kind("c", fields=[]), "()", "{}"),
    (Kind("hstore"), '"a"=>"1", "b"=>NULL, "c\\"\\\\"=>""', '{"a":"1","b":null,"c\\"\\\\":""}'),
    (Kind("json"), "1e300", "1e300"),
    (Kind("text"), None, None),
]
UNEQUAL = [
    (Kind("bool"), "t", "false"),
    (Kind("int4"), "1", "2"),
    (numeric(10, 2), "12.50", "12.51"),
    (Kind("float8"), "0.1", "0.10000000000000002"),
    (Kind("text"), "a ", "a"),
    (Kind("text"), "", None),
    (Kind("bytea"), "\\x00", ""),
    (Kind("date"), "1970-01-02", "2"),
    (Kind("time"), "13:01:02.000001", "46862.000002"),
    (Kind("timestamptz"), "2026-11-23 01:02:03+00", "1795395723.000001 1440"),
    (Kind("jsonb"), '{"a": 1}', '{"a":"1"}'),
    (Kind("jsonb"), "[true]", "[1]"),
    (Kind("json"), "null", None),
    (Kind("_int4", element=Kind("int4")), "{1,2}", "[2,1]"),
    (Kind("_text", element=Kind("text")), "{1}", "[1]"),
    (Kind("_bool", element=Kind("bool")), "{t}", "[1]"),
    (Kind("_int4", element=Kind("int4")), "{1}", "[true]"),
    (Kind("c", fields=[("a", Kind("int4"))]), "(1)", '{"b":1}'),
    (Kind("c", fields=[("a", Kind("int4"))]), "(1)", '{"a":"x"}'),
    (Kind("c", fields=[("a", Kind("text"))]), "()", '{"a":""}'),
    (Kind("hstore"), '"a"=>NULL', '{"a":"NULL"}'),
]
UNFIT = [
    (Kind("numeric"), "NaN", None),
    (Kind("numeric"), "1.0000000005", D("1.000000001")),
    (Kind("numeric"), "-1.0000000005", D("-1.000000001")),
    (Kind("numeric"), "1.00000000049", D("1")),
    (Kind("numeric"), "1.00000000051", D("1.000000001")),
    (Kind("numeric"), "1" + "0" * 29, None),
    (Kind("date"), "infinity", None),
    (Kind("date"), "10000-01-01", None),
    (Kind("date"), "0044-03-15 BC", None),
    (Kind("time"), "24:00:00", None),
    (Kind("timestamp"), "-infinity", None),
    (Kind("timestamptz"), "0044-03-15 00:00:00+00 BC", None),
    (Kind("json"), '{"a": 123456789012345678901234567890123456789}', None),
    (Kind("json"), '{"a":1,"a":1}', None),
    (Kind("json"), "1e400", None),
    (Kind("json"), "0." + "1" * 38, None),
    (Kind("_date", element=Kind("date")), "{infinity}", ("array", (None,))),
    (Kind("_numeric", element=Kind("numeric")), "{1.0000000005,1}", ("array", (D("1.000000001"), D(1)))),
    (Kind("_int4", element=Kind("int4")), "[0:1]={1,2}", ("array", (D(1), D(2)))),
    (Kind("c", fields=[("a", Kind("time")), ("b", Kind("bool"))]), "(24:00:00,t)", ("object", frozenset([("a", None), ("b", ("bool", True))]))),
]


@pytest.mark.parametrize("kind,source,target", EQUAL)
def test_equal_values_are_equal(kind, source, target):
    assert kind.source(source) == kind.target(target)


@pytest.mark.parametrize("kind,source,target", UNEQUAL)
def test_unequal_values_are_not(kind, source, target):
    assert kind.source(source) != kind.target(target)


@pytest.mark.parametrize("kind,source,nearest", UNFIT)
def test_what_the_target_cannot_hold_is_unfit(kind, source, nearest):
    value = kind.source(source)
    assert isinstance(value, Unfit) and value.text == source and value.nearest == nearest


def test_an_array_of_several_dimensions_is_read():
    assert parse_array('{{1,2},{NULL,"a,b"}}') == [["1", "2"], [None, "a,b"]]
    assert parse_array("{}") == []
