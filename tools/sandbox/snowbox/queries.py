"""Compiles queries: SELECT with FROM, joins, QUALIFY and windows, set operations, CTEs with Snowflake's limits on recursion."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from . import errors
from .conversions import NUMBER, Value, base_storage, coerce, combine, common_type
from .expressions import Expressions, Internal, Scope, Source, arguments, folded, quoted
from .functions import aggregate_call
from .sftypes import Type
from .storage import ERROR_COLUMNS, Table

_DEPTH = '"~depth"'
_RANKS = {exp.RowNumber: "row_number()", exp.Rank: "rank()", exp.DenseRank: "dense_rank()"}
_OFFSETS = {exp.Lag: "lag", exp.Lead: "lead", exp.FirstValue: "first_value", exp.LastValue: "last_value"}
_AGGREGATES = (exp.Count, exp.CountIf, exp.Sum, exp.Min, exp.Max, exp.Avg)


@dataclass
class Query:
    sql: str
    columns: list[tuple[str, Type | None]]


@dataclass
class Cte:
    sql_name: str
    columns: list[tuple[str, Type | None]]
    is_open: bool = False  # being defined: a reference to it is its recursion
    was_used: bool = False


@dataclass
class CteScope:
    """The CTEs in sight, innermost last."""

    frames: list[dict[str, Cte]] = field(default_factory=list)

    def find(self, name: str) -> Cte | None:
        for frame in reversed(self.frames):
            if name in frame:
                return frame[name]
        return None


class Queries(Expressions):
    def __init__(self, tables: dict[tuple[str, str, str], Table | None], resolve, session_facts, variables, bindings):
        """tables: all that the statement names, looked up beforehand. resolve: exp.Table -> its key in there."""
        super().__init__(session_facts, variables, bindings)
        self.tables = tables
        self.resolve = resolve
        self.ctes = CteScope()

    # The query as a whole

    def query(self, node: exp.Expression, outer: Scope | None) -> Query:
        frame_count = len(self.ctes.frames)
        prefix = self._with(node.args.get("with_"), outer) if node.args.get("with_") else ""
        try:
            if isinstance(node, exp.Select):
                body = self._select(node, outer)
            elif isinstance(node, (exp.Union, exp.Except, exp.Intersect)):
                body = self._set_operation(node, outer)
            elif isinstance(node, exp.Subquery):
                arguments(node, "this", "with_", "order", "limit", "offset")
                body = self._subquery_body(node, outer)
            else:
                raise errors.unsupported(node.sql(dialect="snowflake")[:200])
        finally:
            del self.ctes.frames[frame_count:]
        return Query(prefix + body.sql, body.columns)

    def _subquery_body(self, node: exp.Subquery, outer: Scope | None) -> Query:
        inner = self.query(node.this, outer)
        scope = Scope([Source(Internal("~s"), inner.columns)], outer)
        tail = self._tail(node, scope, inner.columns, [])
        return Query(f"SELECT * FROM ({inner.sql}) AS \"~s\"{tail}" if tail else f"({inner.sql})", inner.columns)

    def _set_operation(self, node, outer: Scope | None) -> Query:
        arguments(node, "with_", "this", "expression", "distinct", "order", "limit", "offset")
        left, right = self.query(node.this, outer), self.query(node.expression, outer)
        left, right = self._matched(node, left, right)
        word = {"union": "UNION", "except": "EXCEPT", "intersect": "INTERSECT"}[node.key]
        if not node.args.get("distinct"):
            if word != "UNION":
                raise errors.unsupported(f"{word} ALL")
            word += " ALL"
        sql = f"({left.sql}) {word} ({right.sql})"
        tail = self._tail(node, Scope([Source(Internal("~s"), left.columns)], outer), left.columns, [])
        return Query(f"SELECT * FROM ({sql}) AS \"~s\"{tail}" if tail else sql, left.columns)

    def _matched(self, node, left: Query, right: Query) -> tuple[Query, Query]:
        """Both sides of a set operation with the same number and types of columns; the names are the left one's."""
        if len(left.columns) != len(right.columns):
            raise errors.compilation("001789", "42601", "invalid number of result columns for set operator input branches, "
                                     f"expected {len(left.columns)}, got {len(right.columns)} in branch {{2}}")
        columns = [(name, common_type(a, b)) for (name, a), (_, b) in zip(left.columns, right.columns)]
        return convert_columns(left, columns), convert_columns(right, columns)

    # WITH

    def _with(self, node: exp.With, outer: Scope | None) -> str:
        arguments(node, "expressions", "recursive")
        frame: dict[str, Cte] = {}
        self.ctes.frames.append(frame)
        parts, is_recursive = [], False
        for cte in node.expressions:
            arguments(cte, "this", "alias")
            arguments(cte.args["alias"], "this", "columns")
            name = folded(cte.args["alias"].this)
            if name in frame:
                raise errors.compilation("002014", "42601", f"duplicate alias '{name}'")
            names = [folded(column) for column in cte.args["alias"].args.get("columns") or ()]
            if self._refers_to(cte.this, name):
                parts += self._recursive(cte.this, name, names, outer, frame)
                is_recursive = True
                continue
            query = self.query(cte.this, outer)
            columns = renamed(query.columns, names, name)
            sql_name = quoted(f"~w{len(self.ctes.frames)}{name}")
            parts.append(f"{sql_name} ({', '.join(quoted(column) for column, _ in columns)}) AS ({query.sql})")
            frame[name] = Cte(sql_name, columns)
        return f"WITH {'RECURSIVE ' if is_recursive else ''}{', '.join(parts)} "

    def _refers_to(self, node: exp.Expression, name: str) -> bool:
        return any(not table.args.get("db") and isinstance(table.this, exp.Identifier) and folded(table.this) == name for table in node.find_all(exp.Table))

    def _recursive(self, node, name: str, names: list[str], outer: Scope | None, frame) -> list[str]:
        """anchor UNION ALL recursive, with a counter of iterations beside the columns: two CTEs, the second without the counter."""
        if not isinstance(node, exp.Union) or node.args.get("distinct"):
            raise errors.compilation("002077", "42601", f"Recursive CTE '{name}' must have the form anchor UNION ALL recursive term")
        arguments(node, "this", "expression", "distinct")
        if self._refers_to(node.this, name):
            raise errors.compilation("002077", "42601", f"The anchor of the recursive CTE '{name}' refers to the CTE itself")
        self._check_recursive_term(node.expression, name)
        anchor = self.query(node.this, outer)
        columns = [(column, type_ or Type("VARCHAR", length=16_777_216)) for column, type_ in renamed(anchor.columns, names, name)]
        hidden = quoted(f"~r{len(self.ctes.frames)}{name}")
        cte = frame[name] = Cte(hidden, columns, is_open=True)
        term = self._select(node.expression, outer, depth_of=name)
        if not cte.was_used or len(term.columns) != len(columns):
            raise errors.compilation("001789", "42601", f"the recursive term of '{name}' does not answer the anchor's columns")
        listed = ", ".join(quoted(column) for column, _ in columns)
        first = ", ".join(_unbounded(f'"~a".{place(i)}', source, type_) for i, ((_, source), (_, type_)) in enumerate(zip(anchor.columns, columns)))
        again = ", ".join(_unbounded(f'"~a".{place(i)}', source, type_) for i, ((_, source), (_, type_)) in enumerate(zip(term.columns, columns)))
        positions = ", ".join(place(i) for i in range(len(columns)))
        visible = quoted(f"~w{len(self.ctes.frames)}{name}")
        frame[name] = Cte(visible, columns)
        return [
            f'{hidden} ({listed}, {_DEPTH}) AS (SELECT {first}, 0 FROM ({anchor.sql}) AS "~a" ({positions}) UNION ALL '
            f'SELECT {again}, "~a".{_DEPTH} FROM ({term.sql}) AS "~a" ({positions}, {_DEPTH}))',
            f"{visible} ({listed}) AS (SELECT {listed} FROM {hidden})",
        ]

    def _check_recursive_term(self, node: exp.Expression, name: str) -> None:
        if not isinstance(node, exp.Select):
            raise errors.compilation("002077", "42601", f"The recursive term of '{name}' is not a plain SELECT")
        for banned in ("with_", "distinct", "group", "having", "qualify", "order", "limit", "offset"):
            if node.args.get(banned):
                raise errors.compilation("002077", "42601", f"{banned.rstrip('_').upper()} is not allowed in the recursive term of CTE '{name}'")
        if any(node.find_all(exp.AggFunc, exp.Window)):
            raise errors.compilation("002077", "42601", f"Aggregate and window functions are not allowed in the recursive term of CTE '{name}'")
        for join in node.args.get("joins") or ():
            if join.args.get("side"):
                raise errors.compilation("002077", "42601", f"Outer joins are not supported in the recursive term of CTE '{name}'")
        references = [table for table in node.find_all(exp.Table) if not table.args.get("db") and isinstance(table.this, exp.Identifier) and folded(table.this) == name]
        if len(references) != 1 or references[0].find_ancestor(exp.Select) is not node:
            raise errors.compilation("002077", "42601", f"The recursive term of '{name}' refers to the CTE exactly once, in its own FROM")

    # SELECT

    def _select(self, node: exp.Select, outer: Scope | None, depth_of: str | None = None) -> Query:
        arguments(node, "with_", "expressions", "from_", "joins", "where", "group", "having", "qualify", "order", "limit", "offset", "distinct", "kind", "hint_")
        if node.args.get("kind") or node.args.get("distinct") and node.args["distinct"].args.get("on"):
            raise errors.unsupported(node.sql(dialect="snowflake")[:100])
        scope = Scope([], outer)
        from_sql = self._from(node, scope)
        if node.args.get("where"):
            value = self.condition(node.args["where"].this, scope)
            if value.is_window or value.is_aggregate:
                raise errors.compilation("002035", "42601", "Aggregate or window function in WHERE")
            from_sql += f" WHERE {value.sql}"
        names, values = self._select_list(node, scope)
        alias_scope = Scope(scope.sources, outer, {name: value for (name, is_alias), value in zip(names, values) if is_alias})
        from_sql += self._group(node, alias_scope, values)
        if node.args.get("having"):
            from_sql += f" HAVING {self.condition(node.args['having'].this, alias_scope).sql}"
        columns = [(name, value.type) for (name, _), value in zip(names, values)]
        if depth_of is not None:
            cte_alias = next(source.alias for source in scope.sources if source.path == ("~cte", depth_of))
            listed = ", ".join(value.sql for value in values)
            return Query(f"SELECT {listed}, sf.next_iteration({quoted(cte_alias)}.{_DEPTH}){from_sql}", columns)
        return Query(self._finish(node, alias_scope, columns, values, from_sql), columns)

    def _finish(self, node: exp.Select, scope: Scope, columns, values, from_sql: str) -> str:
        """The select list with QUALIFY, DISTINCT, ORDER BY and LIMIT.

        QUALIFY becomes a query around: its condition is one more column of the inner one, and so are the keys of ORDER BY.
        """
        distinct = "DISTINCT " if node.args.get("distinct") else ""
        if not node.args.get("qualify"):
            listed = ", ".join(f"{value.sql} AS {quoted(name)}" for (name, _), value in zip(columns, values))
            return f"SELECT {distinct}{listed}{from_sql}{self._tail(node, scope, columns, values)}"
        condition = self.condition(node.args["qualify"].this, scope)
        if not condition.is_window and not any(value.is_window for value in values):
            raise errors.compilation("002303", "42601", "QUALIFY needs a window function in the select list or in its predicate")
        inner = [f"{value.sql} AS {place(i)}" for i, value in enumerate(values)] + [f'{condition.sql} AS "~q"']
        order = ""
        if node.args.get("order"):
            keys = []
            for i, item in enumerate(node.args["order"].expressions):
                inner.append(f"{self._order_key(item, scope, values).sql} AS {place(i, 'o')}")
                keys.append(place(i, 'o') + _direction(item))
            if distinct:
                raise errors.unsupported("SELECT DISTINCT with QUALIFY and ORDER BY")
            order = " ORDER BY " + ", ".join(keys)
        listed = ", ".join(f"{place(i)} AS {quoted(name)}" for i, (name, _) in enumerate(columns))
        return f'SELECT {distinct}{listed} FROM (SELECT {", ".join(inner)}{from_sql}) AS "~s" WHERE "~q"{order}{self._limit(node)}'

    def _select_list(self, node: exp.Select, scope: Scope) -> tuple[list[tuple[str, bool]], list[Value]]:
        names, values = [], []
        for item in node.expressions:
            if isinstance(item, exp.Star) or isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                for name, value in self._star(item, scope):
                    names.append((name, False))
                    values.append(value)
                continue
            alias = item.args["alias"] if isinstance(item, exp.Alias) else None
            value = self.value(item.this if alias is not None else item, scope)
            if alias is not None:
                name = folded(alias)
            elif isinstance(item, exp.Column):
                name = folded(item.this)
            else:
                name = item.sql(dialect="snowflake")[:255].upper()
            names.append((name, alias is not None))
            values.append(value)
        if not values:
            raise errors.syntax("FROM")
        return names, values

    def _star(self, node: exp.Expression, scope: Scope):
        star = node if isinstance(node, exp.Star) else node.this
        excluded = {folded(item.this if isinstance(item, exp.Column) else item) for item in arguments(star, "except_")["except_"] or ()}
        table = folded(node.args["table"]) if isinstance(node, exp.Column) and node.args.get("table") else None
        sources = [source for source in scope.sources if table is None or source.alias == table]
        if not sources:
            raise errors.invalid_identifier(f"{table or ''}.*")
        for source in sources:
            for name, type_ in source.columns:
                if name not in excluded:
                    yield name, Value(f"{quoted(source.alias)}.{quoted(name)}", type_)

    def _group(self, node: exp.Select, scope: Scope, values: list[Value]) -> str:
        group = node.args.get("group")
        if not group:
            return ""
        given = arguments(group, "expressions", "all")
        if given.get("all"):
            keys = [value.sql for value in values if not value.is_aggregate]
            return f" GROUP BY {', '.join(keys)}" if keys else ""
        keys = []
        for item in given["expressions"]:
            if isinstance(item, exp.Literal) and not item.args.get("is_string"):
                keys.append(values[_position(item, len(values))].sql)
            else:
                keys.append(self.value(item, scope).sql)
        return f" GROUP BY {', '.join(keys)}"

    # ORDER BY and LIMIT

    def _tail(self, node: exp.Expression, scope: Scope, columns, values: list[Value]) -> str:
        order = node.args.get("order")
        sql = ""
        if order:
            arguments(order, "expressions")
            keys = []
            for item in order.expressions:
                if not values and isinstance(item.this, exp.Literal):
                    keys.append(f"{_position(item.this, len(columns)) + 1}{_direction(item)}")
                else:
                    keys.append(f"{self._order_key(item, scope, values).sql}{_direction(item)}")
            sql = " ORDER BY " + ", ".join(keys)
        return sql + self._limit(node)

    def _order_key(self, item: exp.Ordered, scope: Scope, values: list[Value]) -> Value:
        if isinstance(item.this, exp.Literal) and not item.this.args.get("is_string"):
            return values[_position(item.this, len(values))]
        # In ORDER BY an alias of the select list comes before a column.
        column = item.this
        if isinstance(column, exp.Column) and not column.args.get("table") and folded(column.this) in scope.aliases:
            return scope.aliases[folded(column.this)]
        return self.value(item.this, scope)

    def order(self, items: list[exp.Ordered], scope: Scope) -> str:
        return "ORDER BY " + ", ".join(self.value(item.this, scope).sql + _direction(item) for item in items)

    def _limit(self, node: exp.Expression) -> str:
        sql = ""
        for key in ("limit", "offset"):
            if node.args.get(key):
                count = arguments(node.args[key], "expression")["expression"]
                if not isinstance(count, exp.Literal) or not count.this.isdigit():
                    raise errors.unsupported(node.args[key].sql(dialect="snowflake"))
                sql += f" {key.upper()} {count.this}"
        return sql

    # FROM

    def _from(self, node: exp.Select, scope: Scope) -> str:
        from_ = node.args.get("from_")
        if not from_:
            if node.args.get("joins"):
                raise errors.syntax("JOIN")
            return ""
        arguments(from_, "this")
        sql = f" FROM {self._item(from_.this, scope)}"
        for join in node.args.get("joins") or ():
            sql += self._join(join, scope)
        return sql

    def _join(self, join: exp.Join, scope: Scope) -> str:
        given = arguments(join, "this", "on", "side", "kind")
        side, kind = (str(given.get(key) or "").upper() for key in ("side", "kind"))
        item = self._item(join.this, scope)
        if kind in ("CROSS", "") and not given.get("on") and not side:
            return f" CROSS JOIN {item}"
        if kind not in ("", "INNER", "OUTER") or not given.get("on"):
            raise errors.unsupported(join.sql(dialect="snowflake")[:100])
        condition = self.condition(given["on"], scope)
        return f" {side + ' ' if side else ''}JOIN {item} ON {condition.sql}"

    def _item(self, node: exp.Expression, scope: Scope) -> str:
        """One item of FROM; joins that sqlglot hangs under a table are refused, they come from parentheses."""
        if isinstance(node, exp.Subquery):
            given = arguments(node, "this", "alias")
            # A subquery in FROM does not see its neighbours: LATERAL is not supported.
            query = self.query(node.this, scope.parent)
            names = []
            alias = Internal(f"~{len(scope.sources)}")
            if given.get("alias"):
                arguments(given["alias"], "this", "columns")
                alias = folded(given["alias"].this)
                names = [folded(column) for column in given["alias"].args.get("columns") or ()]
            columns = renamed(query.columns, names, alias)
            self._add(scope, Source(alias, columns))
            return f"({query.sql}) AS {quoted(alias)} ({', '.join(quoted(name) for name, _ in columns)})"
        if isinstance(node, exp.Table):
            return self._table(node, scope)
        if isinstance(node, exp.Values):
            return self._values(node, scope)
        raise errors.unsupported(node.sql(dialect="snowflake")[:200])

    def _add(self, scope: Scope, source: Source) -> None:
        if any(other.alias == source.alias and other.path == source.path for other in scope.sources):
            raise errors.compilation("002014", "42601", f"duplicate alias '{source.alias}'")
        scope.sources.append(source)

    def _table(self, node: exp.Table, scope: Scope) -> str:
        given = arguments(node, "this", "db", "catalog", "alias")
        alias = None
        if given.get("alias"):
            arguments(given["alias"], "this")
            alias = folded(given["alias"].this)
        if isinstance(node.this, exp.Anonymous):
            return self._error_table(node.this, alias, scope)
        cte = self.ctes.find(folded(node.this)) if not given.get("db") else None
        if cte is not None:
            name = folded(node.this)
            cte.was_used = True
            self._add(scope, Source(alias or name, cte.columns, ("~cte", name) if cte.is_open else None))
            return f"{cte.sql_name} AS {quoted(alias or name)}"
        key = self.resolve(node)
        table = self.tables.get(key)
        if table is None:
            raise errors.missing_object("Table", ".".join(key))
        self._add(scope, table_source(table, alias))
        return f'rows."t{table.id}" AS {quoted(alias or table.name)}'

    def _error_table(self, node: exp.Anonymous, alias: str | None, scope: Scope) -> str:
        if str(node.this).upper() != "ERROR_TABLE" or len(node.expressions) != 1:
            raise errors.compilation("002140", "42601", f"Unknown function {node.this}")
        key = self.resolve(node.expressions[0])
        table = self.tables.get(key)
        if table is None or not table.error_logging:
            raise errors.missing_object("Table", f"ERROR_TABLE({'.'.join(key)})")
        columns = [(name, Type.parse(text)) for name, text in ERROR_COLUMNS]
        alias = alias or "ERROR_TABLE"
        self._add(scope, Source(alias, columns))
        return f'rows."e{table.id}" AS {quoted(alias)}'

    def _values(self, node: exp.Values, scope: Scope) -> str:
        given = arguments(node, "expressions", "alias")
        rows = [[self.value(item, Scope([], scope.parent)) for item in row.expressions] for row in given["expressions"]]
        if len({len(row) for row in rows}) != 1:
            raise errors.compilation("001789", "42601", "Invalid number of columns in VALUES")
        columns = []
        for index in range(len(rows[0])):
            values, type_ = self.alike([row[index] for row in rows])
            columns.append((f"COLUMN{index + 1}", type_))
            for row, value in zip(rows, values):
                row[index] = value
        alias = Internal(f"~{len(scope.sources)}")
        if given.get("alias"):
            arguments(given["alias"], "this", "columns")
            alias = folded(given["alias"].this)
            columns = renamed(columns, [folded(column) for column in given["alias"].args.get("columns") or ()], alias)
        self._add(scope, Source(alias, columns))
        listed = ", ".join("(" + ", ".join(value.sql for value in row) + ")" for row in rows)
        return f"(VALUES {listed}) AS {quoted(alias)} ({', '.join(quoted(name) for name, _ in columns)})"

    # Windows

    def window(self, node: exp.Window, scope: Scope) -> Value:
        given = arguments(node, "this", "partition_by", "order", "spec", "over")
        if str(given.get("over") or "OVER").upper() != "OVER":
            raise errors.unsupported(node.sql(dialect="snowflake"))
        partition = [self.value(item, scope) for item in given.get("partition_by") or ()]
        parts = [f"PARTITION BY {', '.join(value.sql for value in partition)}"] if partition else []
        if given.get("order"):
            parts.append(self.order(arguments(given["order"], "expressions")["expressions"], scope))
        frame = self._frame(given.get("spec"))
        call, around, type_, values = self._window_call(node.this, scope, bool(given.get("order")))
        if not frame and type(node.this) in (exp.FirstValue, exp.LastValue):
            # Snowflake's default for these is the whole partition.
            frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
        parts += [frame] if frame else []
        value = combine(around.format(f"{call} OVER ({' '.join(parts)})"), type_, *values, *partition)
        return Value(value.sql, type_, None, value.is_aggregate, True)

    def _window_call(self, node: exp.Expression, scope: Scope, is_ordered: bool):
        if type(node) in _RANKS:
            arguments(node)
            if not is_ordered:
                raise errors.compilation("002303", "42601", f"Window function type [{node.sql_name()}] requires ORDER BY in window specification")
            return _RANKS[type(node)], "({})::numeric", NUMBER, []
        if type(node) in _OFFSETS:
            given = arguments(node, "this", "offset", "default")
            if not is_ordered:
                raise errors.compilation("002303", "42601", f"Window function type [{node.sql_name()}] requires ORDER BY in window specification")
            value = self.value(node.this, scope)
            extra = ""
            if given.get("offset"):
                extra = f", {_whole(given['offset'])}"
            if given.get("default"):
                extra += f", {coerce(self.value(given['default'], scope), value.type).sql}"
            return f"{_OFFSETS[type(node)]}({value.sql}{extra})", "{}", value.type, [value]
        if isinstance(node, _AGGREGATES):
            if isinstance(node.this, exp.Distinct) and is_ordered:
                raise errors.unsupported("DISTINCT in an ordered window")
            return aggregate_call(self, node, scope)
        raise errors.unsupported(f"{node.sql(dialect='snowflake')[:100]} OVER")

    def _frame(self, spec: exp.WindowSpec | None) -> str:
        if spec is None:
            return ""
        given = arguments(spec, "kind", "start", "start_side", "end", "end_side")
        ends = []
        for key in ("start", "end"):
            edge, side = given.get(key), given.get(f"{key}_side")
            if edge is None:
                raise errors.unsupported(spec.sql(dialect="snowflake"))
            text = edge.upper() if isinstance(edge, str) else _whole(edge)
            ends.append(f"{text} {side.upper()}" if side else text)
        kind = str(given["kind"]).upper()
        if kind not in ("ROWS", "RANGE") or kind == "RANGE" and any(end[0].isdigit() for end in ends):
            raise errors.unsupported(spec.sql(dialect="snowflake"))
        return f"{kind} BETWEEN {ends[0]} AND {ends[1]}"


def place(index: int, prefix: str = "") -> str:
    """The name of a column that the compiler needs for itself."""
    return f'"~{prefix}{index}"'


def _whole(node: exp.Expression) -> str:
    if not isinstance(node, exp.Literal) or not node.this.isdigit():
        raise errors.unsupported(node.sql(dialect="snowflake"))
    return node.this


def _direction(item: exp.Ordered) -> str:
    arguments(item, "this", "desc", "nulls_first")
    return f" {'DESC' if item.args.get('desc') else 'ASC'} NULLS {'FIRST' if item.args.get('nulls_first') else 'LAST'}"


def _position(node: exp.Literal, count: int) -> int:
    if not node.this.isdigit() or not 1 <= int(node.this) <= count:
        raise errors.compilation("002061", "42601", f"position {node.this} is not in the select list")
    return int(node.this) - 1


def _unbounded(sql: str, source: Type | None, target: Type) -> str:
    """A column of a recursive CTE: PostgreSQL wants exactly the same type, bounds included, on both sides, so there are none."""
    converted = coerce(Value(sql, source), target) if source is not None else Value(sql, target)
    return f"({converted.sql})::{base_storage(target)}"


def renamed(columns, names: list[str], owner: str):
    if not names:
        return columns
    if len(names) != len(columns):
        raise errors.compilation("002079", "42601", f"'{owner}' names {len(names)} columns, its query answers {len(columns)}")
    return [(name, type_) for name, (_, type_) in zip(names, columns)]


def convert_columns(query: Query, columns) -> Query:
    """The query with its columns converted to the given types, by a query around it where one differs."""
    if all(a == b or b is None for (_, a), (_, b) in zip(query.columns, columns)):
        return Query(query.sql, columns)
    listed = []
    for i, ((_, source), (name, target)) in enumerate(zip(query.columns, columns)):
        value = Value(f'"~c".{place(i)}', source)
        converted = coerce(value, target) if source is not None else Value(f"{value.sql}::{base_storage(target)}", target)
        listed.append(f"{converted.sql} AS {quoted(name)}")
    inner = ", ".join(place(i) for i in range(len(columns)))
    return Query(f'SELECT {", ".join(listed)} FROM ({query.sql}) AS "~c" ({inner})', columns)


def table_source(table: Table, alias: str | None) -> Source:
    return Source(alias or table.name, [(column.name, column.type) for column in table.columns], None if alias else (table.database, table.schema))


