"""WebSockets over HTTP/2 (RFC 8441) by the h2 package: many on one connection, echoed and closed.

Arguments: the port of an https listener, and the CA to trust. Prints how many were opened.
"""
import socket, ssl, sys
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded
from h2.settings import SettingCodes

port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(["h2"])
tcp = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
assert tcp.selected_alpn_protocol() == "h2"
h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
h2.initiate_connection()

def flush():
    tcp.sendall(h2.data_to_send())

received, heads, ended = {}, {}, set()

def pump(until):
    """Reads until a condition holds; gives credit back at once."""
    flush()
    while not until():
        data = tcp.recv(65536)
        assert data, "the gateway hung up"
        for event in h2.receive_data(data):
            if isinstance(event, DataReceived):
                received[event.stream_id] = received.get(event.stream_id, b"") + event.data
                if event.flow_controlled_length:
                    h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, ResponseReceived):
                heads[event.stream_id] = dict(event.headers)
            elif isinstance(event, StreamEnded):
                ended.add(event.stream_id)
        flush()

def frame(first, payload):
    assert len(payload) < 65536
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    mask = b"\x37\xfa\x21\x3d"
    return bytes([first]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

def plain(first, payload):
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([first]) + length + payload

pump(lambda: h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1)
streams = []
for _ in range(20):
    stream = h2.get_next_available_stream_id()
    h2.send_headers(stream, [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
        (":path", "/echo"), (":authority", "localhost:%d" % port),
        ("sec-websocket-version", "13"),
    ])
    streams.append(stream)
pump(lambda: len(heads) == len(streams))
assert all(head[":status"] == "200" for head in heads.values()), heads
expected = {}
for stream in streams:
    expected[stream] = b""
    for size in (0, 5, 125, 126, 2000):
        payload = bytes([stream % 256]) * size
        h2.send_data(stream, frame(0x82, payload))
        expected[stream] += plain(0x82, payload)
    h2.send_data(stream, frame(0x89, b"ping") + frame(0x88, b"\x03\xe8"))
    expected[stream] += plain(0x8a, b"ping") + plain(0x88, b"\x03\xe8")
pump(lambda: ended == set(streams))
assert received == expected
refused = h2.get_next_available_stream_id()
h2.send_headers(refused, [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
    (":path", "/echo"), (":authority", "localhost:%d" % port), ("sec-websocket-version", "8"),
])
pump(lambda: refused in ended)
assert heads[refused][":status"] == "426", heads[refused]
print(len(streams))
