"""Snowflake Scripting: a strict grammar for blocks, and their execution in a session.

Known: DECLARE of variables and exceptions, LET, assignment, IF, RAISE, RETURN, NULL, nested blocks, SQL statements with :name,
CALL (procedures.py), SELECT … INTO :name, exception handlers. Loops, cursors and result sets are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot.tokens import Token, TokenType

from . import dialect, errors
from .conversions import NUMBER, TEXT, Value, assign, base_storage, quote_literal
from .expressions import Scope
from .results import Result
from .sftypes import Type
from .statements import DML_WORDS, QUERY_WORDS, Reader

_TRANSACTION_WORDS = frozenset({"TRANSACTION", "WORK", "NAME", ";", ""})
_UNSUPPORTED = frozenset({"FOR", "WHILE", "REPEAT", "LOOP", "OPEN", "FETCH", "CLOSE", "BREAK", "CONTINUE", "CASE", "ASYNC", "AWAIT", "EXECUTE", "RETURNS"})
# A cancelled or timed-out statement ends the whole block: no handler catches it.
_UNCATCHABLE = frozenset({"000604", "000630"})


class Raised(errors.SnowflakeError):
    """An error on its way through blocks. `name` is the exception's: a declared one, STATEMENT_ERROR or EXPRESSION_ERROR."""

    def __init__(self, name: str, code: str, sql_state: str, text: str, place: tuple[int, int]):
        super().__init__(code, sql_state, f"Uncaught exception of type '{name}' on line {place[0]} at position {place[1]} : {text}")
        self.name = name
        self.text = text


@dataclass
class Variable:
    type: Type
    text: str | None = None

    def value(self) -> Value:
        sql = f"NULL::{base_storage(self.type)}" if self.text is None else f"{quote_literal(self.text)}::{base_storage(self.type)}"
        return Value(sql, self.type)


@dataclass
class Step:
    """One statement of a block with its place in the text."""

    kind: str
    place: tuple[int, int]
    facts: dict = field(default_factory=dict)


@dataclass
class Block:
    declarations: list[Step]
    steps: list[Step]
    handlers: list[tuple[list[str], list[Step]]]


class _Return(Exception):
    def __init__(self, result: Result):
        self.result = result


def is_block(tokens: list[Token]) -> bool:
    """DECLARE, or a BEGIN that does not begin a transaction."""
    if not tokens:
        return False
    first = tokens[0].text.upper()
    second = tokens[1].text.upper() if len(tokens) > 1 else ""
    return first == "DECLARE" or first == "BEGIN" and second not in _TRANSACTION_WORDS


class Grammar(Reader):
    def block(self) -> Block:
        declarations = []
        if self.accept("DECLARE"):
            while self.word() != "BEGIN":
                declarations.append(self._declaration())
        self.expect("BEGIN")
        steps = self._steps("EXCEPTION", "END")
        handlers = []
        if self.accept("EXCEPTION"):
            if self.word() != "WHEN":
                raise self.fail()
            while self.accept("WHEN"):
                names = [self.identifier()]
                while self.accept("OR"):
                    names.append(self.identifier())
                if "OTHER" in names and (len(names) > 1 or self.word() == "WHEN"):
                    raise self.fail()
                self.accept("EXIT")
                self.expect("THEN")
                handlers.append((names, self._steps("WHEN", "END")))
        self.expect("END")
        return Block(declarations, steps, handlers)

    def _place(self) -> tuple[int, int]:
        return (self.token.line, max(0, self.token.col - len(self.token.text))) if self.token else (1, 0)

    def _declaration(self) -> Step:
        place = self._place()
        name = self.identifier()
        if self.accept("EXCEPTION"):
            number, message = -20999, "An exception was raised."
            if self.accept("("):
                number = self.integer()
                self.expect(",")
                message = self.string()
                self.expect(")")
            if not -20999 <= number <= -20000:
                raise errors.compilation("002222", "42601", f"invalid exception number {number}: it must be between -20999 and -20000")
            step = Step("EXCEPTION", place, {"name": name, "code": str(number), "message": message})
        elif self.word() in ("CURSOR", "RESULTSET"):
            raise errors.unsupported(f"{self.word()} in a scripting block")
        else:
            step = self._variable(name, place)
        self.expect(";")
        return step

    def _variable(self, name: str, place) -> Step:
        type_ = None if self.word() in (":=", "DEFAULT") or self.word() == ":" else self.type()
        start = None
        if self._accept_assignment() or self.accept("DEFAULT"):
            start = self._until(";")
        if type_ is None and start is None:
            raise self.fail()
        return Step("VARIABLE", place, {"name": name, "type": type_, "expression": start})

    def _accept_assignment(self) -> bool:
        return self.accept(":=") or self.accept(":", "=")

    def _until(self, *stops: str) -> str:
        """The text of an expression up to one of the words, which stays; nested parentheses are skipped."""
        first, depth, cases = self.index, 0, 0
        while self.token is not None:
            word = self.word()
            if depth == 0 and cases == 0 and word in stops:
                break
            depth += {"(": 1, ")": -1}.get(word, 0)
            cases += {"CASE": 1, "END": -1}.get(word, 0)
            self.index += 1
        if self.index == first or self.token is None:
            raise self.fail()
        return self.source(first, self.index)

    def _steps(self, *stops: str) -> list[Step]:
        steps = []
        while self.word() not in stops:
            steps.append(self._step())
        if not steps:
            raise self.fail()
        return steps

    def _step(self) -> Step:
        place, word = self._place(), self.word()
        if word in _UNSUPPORTED:
            raise errors.unsupported(f"{word} in a scripting block")
        if word == "IF":
            return self._if(place)
        if word == "DECLARE" or word == "BEGIN" and self.word(1) not in _TRANSACTION_WORDS:
            step = Step("BLOCK", place, {"block": self.block()})
        elif self.accept("LET"):
            step = self._variable(self.identifier(), place)
        elif self.accept("RAISE"):
            step = Step("RAISE", place, {"name": None if self.word() == ";" else self.identifier()})
        elif self.accept("RETURN"):
            step = Step("RETURN", place, {"expression": None if self.word() == ";" else self._until(";")})
        elif self.accept("NULL"):
            step = Step("NULL", place)
        elif self.word(1) == ":=" or self.word(1) == ":" and self.word(2) == "=":
            name = self.identifier()
            self._accept_assignment()
            step = Step("ASSIGN", place, {"name": name, "expression": self._until(";")})
        else:
            step = self._sql(place)
        self.expect(";")
        return step

    def _if(self, place) -> Step:
        self.expect("IF")
        branches = [(self._condition(), self._steps("ELSEIF", "ELSE", "END"))]
        while self.accept("ELSEIF"):
            branches.append((self._condition(), self._steps("ELSEIF", "ELSE", "END")))
        otherwise = self._steps("END") if self.accept("ELSE") else []
        self.expect("END", "IF", ";")
        return Step("IF", place, {"branches": branches, "otherwise": otherwise})

    def _condition(self) -> str:
        if self.word() != "(":
            raise self.fail()
        condition = self._until("THEN")
        self.expect("THEN")
        return condition

    def _sql(self, place) -> Step:
        first = self.index
        while self.token is not None and self.token.token_type != TokenType.SEMICOLON:
            self.index += 1
        if self.token is None:
            raise self.fail()
        tokens = self.tokens[first : self.index]
        into: list[str] = []
        if tokens[0].text.upper() in QUERY_WORDS:
            tokens, into = self._take_into(tokens)
        elif any(token.text.upper() == "INTO" for token in tokens) and tokens[0].text.upper() not in DML_WORDS:
            raise errors.syntax("INTO", *place)
        return Step("SQL", place, {"tokens": tokens, "into": into, "text": self.text[tokens[0].start : tokens[-1].end + 1]})

    def _take_into(self, tokens: list[Token]) -> tuple[list[Token], list[str]]:
        """Takes INTO :a, :b out of a SELECT; it stands outside of all parentheses."""
        depth = 0
        for index, token in enumerate(tokens):
            depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
            if depth == 0 and token.text.upper() == "INTO" and token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER):
                break
        else:
            return tokens, []
        reader = Reader(tokens[index + 1 :], self.text)
        names = []
        while True:
            reader.expect(":")
            names.append(reader.identifier())
            if not reader.accept(","):
                break
        return tokens[:index] + tokens[index + 1 + reader.index :], names


class Runner:
    """Executes a parsed block. Names are looked up from the innermost block outwards."""

    def __init__(self, session, text: str):
        self.session = session
        self.text = text  # what the steps' tokens are places in
        self.variables: list[dict[str, Variable]] = [{}]
        self.exceptions: list[dict[str, Step]] = [{}]
        self.handling: list[Raised] = []
        self.row_count: int | None = None

    def _find(self, name: str) -> Variable:
        for frame in reversed(self.variables):
            if name in frame:
                return frame[name]
        raise errors.compilation("000904", "42000", f"invalid identifier '{name}'")

    def _values(self) -> dict[str, Value]:
        merged: dict[str, Variable] = {}
        for frame in self.variables:
            merged.update(frame)
        values = {name: variable.value() for name, variable in merged.items()}
        count = None if self.row_count is None else str(self.row_count)
        values["SQLROWCOUNT"] = Variable(NUMBER, count).value()
        values["SQLFOUND"] = Variable(Type("BOOLEAN"), None if count is None else str(count != "0").lower()).value()
        if self.handling:
            error = self.handling[-1]
            values["SQLCODE"] = Variable(NUMBER, str(int(error.code))).value()
            values["SQLSTATE"] = Variable(TEXT, error.sql_state).value()
            values["SQLERRM"] = Variable(TEXT, error.text).value()
        return values

    async def run(self, block: Block) -> None:
        self.variables.append({})
        self.exceptions.append({})
        try:
            await self._body(block)
        finally:
            self.variables.pop()
            self.exceptions.pop()

    async def _body(self, block: Block) -> None:
        try:
            for step in block.declarations + block.steps:
                await self._step(step)
        except Raised as error:
            handler = next((steps for names, steps in block.handlers if error.name in names or names == ["OTHER"]), None)
            if handler is None or error.code in _UNCATCHABLE:
                raise
            self.handling.append(error)
            try:
                for step in handler:
                    await self._step(step)
            finally:
                self.handling.pop()

    async def _step(self, step: Step) -> None:
        try:
            await getattr(self, f"_{step.kind.lower()}")(step)
        except Raised:
            raise
        except errors.SnowflakeError as error:
            name = "STATEMENT_ERROR" if step.kind == "SQL" else "EXPRESSION_ERROR"
            raise Raised(name, error.code, error.sql_state, error.message, step.place) from None

    async def _exception(self, step: Step) -> None:
        self.exceptions[-1][step.facts["name"]] = step

    async def _variable(self, step: Step) -> None:
        type_, text = step.facts["type"], None
        if step.facts["expression"] is not None:
            type_, text = await self._evaluate(step.facts["expression"], type_)
        self.variables[-1][step.facts["name"]] = Variable(type_, text)

    async def _assign(self, step: Step) -> None:
        variable = self._find(step.facts["name"])
        _, variable.text = await self._evaluate(step.facts["expression"], variable.type)

    async def _evaluate(self, expression: str, type_: Type | None) -> tuple[Type, str | None]:
        text = f"SELECT {expression}"
        node = dialect.parse(text, dialect.tokenize(text))
        if len(node.expressions) != 1 or node.args.get("from_"):
            raise errors.syntax(expression[:60])
        compiler = dialect.Compiler(node, self.session.database, self.session.schema)
        values = self._values()
        compiler.compile_expressions(self.session.facts(), values)
        value = compiler.queries.value(node.expressions[0], Scope(aliases=values))
        value = assign(value, type_, "") if type_ else value
        return value.type or TEXT, await self.session.evaluate(value.sql)

    async def _if(self, step: Step) -> None:
        for condition, steps in step.facts["branches"]:
            if (await self._evaluate(condition, Type("BOOLEAN")))[1] == "t":
                break
        else:
            steps = step.facts["otherwise"]
        for inner in steps:
            await self._step(inner)

    async def _block(self, step: Step) -> None:
        await self.run(step.facts["block"])

    async def _null(self, step: Step) -> None:
        pass

    async def _raise(self, step: Step) -> None:
        name = step.facts["name"]
        if name is None:
            if not self.handling:
                raise errors.compilation("002223", "42601", "RAISE without a name stands in an exception handler only")
            raise self.handling[-1]
        for frame in reversed(self.exceptions):
            if name in frame:
                facts = frame[name].facts
                raise Raised(name, facts["code"], "P0001", facts["message"], step.place)
        raise errors.compilation("000904", "42000", f"invalid identifier '{name}'")

    async def _return(self, step: Step) -> None:
        type_, text = TEXT, None
        if step.facts["expression"] is not None:
            type_, text = await self._evaluate(step.facts["expression"], None)
        raise _Return(Result([("anonymous block", type_)], [[text]], "BLOCK"))

    async def _sql(self, step: Step) -> None:
        targets = [self._find(name) for name in step.facts["into"]]
        result = await self.session.run(step.facts["text"], step.facts["tokens"], variables=self._values(), source=self.text)
        if result.kind in ("INSERT", "UPDATE", "DELETE", "MERGE"):
            self.row_count = result.row_count
        if not targets:
            return
        if len(result.columns) != len(targets):
            raise errors.compilation("002224", "42601", f"SELECT INTO: {len(result.columns)} columns for {len(targets)} variables")
        if len(result.rows) != 1:
            raise errors.SnowflakeError("002225", "42601", f"SELECT INTO statement expects exactly 1 returned row, but got {len(result.rows)}.")
        for target, text, (_, type_) in zip(targets, result.rows[0], result.columns):
            value = Variable(type_, text).value() if type_ else Value("NULL::text", None)
            target.text = await self.session.evaluate(assign(value, target.type, "").sql)


async def run_block(session, tokens: list[Token], text: str) -> Result:
    grammar = Grammar(tokens, text)
    block = grammar.block()
    grammar.accept(";")
    grammar.end()
    runner = Runner(session, text)
    try:
        await runner.run(block)
    except _Return as returned:
        return returned.result
    return Result([("anonymous block", TEXT)], [[None]], "BLOCK")
