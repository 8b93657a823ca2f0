"""The rows that the benchmarks move: nine columns, about 200 bytes as pgoutput sends them in binary."""

COLUMNS = """id bigint primary key, customer int not null, amount numeric(12,2) not null, name text not null,
    note text not null, created timestamptz not null, is_open bool not null, rate double precision not null,
    detail jsonb not null"""
VALUES = """select n, (random() * 1e6)::int, round((random() * 1e4)::numeric, 2), 'customer ' || (random() * 1e9)::bigint,
    md5(n::text) || ' ' || md5((n / 7)::text) || ' é', timestamptz '2026-01-01' + n * interval '1.234567 s', n % 3 = 0, random(),
    jsonb_build_object('a', n % 100, 'tag', 'x' || n % 7) from generate_series({first}, {last}) n"""
BLOCK = 1000  # rows one INSERT makes; with several tables, each INSERT goes to the next


class Workload:
    """A database with tables and a publication of its own."""

    publication = "bench"

    def __init__(self, server, name, tables=1):
        self.server, self.name = server, name
        self.tables = ["rows"] if tables == 1 else [f"rows_{number:02d}" for number in range(tables)]
        server.create_database(name)
        for table in self.tables:
            server.sql(f"create table {table} ({COLUMNS})", dbname=name)
        server.sql(f"create publication {self.publication} for table {', '.join(self.tables)}", dbname=name)

    @property
    def source(self):
        """What `etl-stream run --from` takes. The slot's name is ours to know: it is put back between repetitions."""
        return self.server.url(self.name, publication=self.publication, slot=self.slot, sslmode="disable")

    @property
    def slot(self):
        return "etl_" + self.name

    def insert(self, rows):
        """All in one transaction."""
        with self.server.connect(self.name, autocommit=False) as connection:
            connection.execute("select setseed(0.5)")
            for block in range(rows // BLOCK):
                table = self.tables[block % len(self.tables)]
                values = VALUES.format(first=block * BLOCK + 1, last=(block + 1) * BLOCK)
                connection.execute(f"insert into {table} {values}")
            connection.commit()
        self.server.sql("checkpoint")

    def copy_slot(self, source, target):
        self.server.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", [target],
                        dbname=self.name)
        self.server.sql("select pg_copy_logical_replication_slot(%s, %s)", [source, target], dbname=self.name)

    def drop_slot(self, name):
        self.server.sql("select pg_drop_replication_slot(%s)", [name], dbname=self.name)
