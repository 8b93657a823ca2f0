"""A TCP proxy in this process, to cut and freeze connections between the program and its neighbours."""
import selectors
import socket
import struct
import threading

CHUNK = 65536


class Proxy:
    """Forwards 127.0.0.1:port to the target.

    cut() resets what is open; refuse() and accept() turn new connections away or let them in; freeze() and thaw() stop and
    resume the flow of bytes without a word to either side, as a network that loses packets does.
    """

    def __init__(self, target_host, target_port):
        self.target = (target_host, target_port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0  # accepted so far
        self._pairs = []
        self._refusing = False
        self._cuts = 0
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                if self._refusing or self._closed:
                    _reset(client)
                    continue
                self.connections += 1
                cuts = self._cuts
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                is_cut = self._refusing or self._closed or self._cuts != cuts  # while we connected
                if not is_cut:
                    self._pairs.append((client, server))
            if is_cut:
                _reset(client)
                _reset(server)
                continue
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client, server):
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for one in other:
                selector.register(one, selectors.EVENT_READ)
            try:
                while True:
                    for key, _ in selector.select():
                        data = key.fileobj.recv(CHUNK)
                        self._flowing.wait()
                        if not data:
                            return
                        other[key.fileobj].sendall(data)
            except (OSError, ValueError):  # cut() closes the sockets under us
                pass
            finally:
                with self._lock:
                    if (client, server) in self._pairs:
                        self._pairs.remove((client, server))
                for one in other:
                    one.close()

    def cut(self):
        """Resets every open connection, on both sides. Returns how many there were."""
        with self._lock:
            self._cuts += 1
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _reset(one)
        return len(pairs)

    def open_connections(self):
        with self._lock:
            return len(self._pairs)

    def refuse(self):
        self._refusing = True

    def accept(self):
        self._refusing = False

    def freeze(self):
        self._flowing.clear()

    def thaw(self):
        self._flowing.set()

    def close(self):
        self._closed = True
        self.thaw()
        self.listener.close()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _reset(connection):
    """Closes with RST instead of FIN, and wakes whoever reads."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
