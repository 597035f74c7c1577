"""socketify, uWebSockets for Python: /echo sends back, /room publishes to its subscribers.

usage: python server.py PORT [deflate]
"""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

port = int(sys.argv[1])
compresses = len(sys.argv) > 2
app = App()


def behaviour(**handlers):
    return {
        "compression": CompressOptions.SHARED_COMPRESSOR if compresses else CompressOptions.DISABLED,
        "max_payload_length": 16 << 20,
        # The load generator reads as fast as it can; nobody is meant to be cut off here.
        "max_backpressure": 64 << 20,
        "idle_timeout": 120,
        **handlers,
    }


def on_echo(socket, message, opcode):
    socket.send(message, opcode, compresses)


def on_publish(_socket, message, _opcode):
    app.publish("room", message, OpCode.TEXT, compresses)


app.ws("/echo", behaviour(message=on_echo))
app.ws("/room", behaviour(open=lambda socket: socket.subscribe("room"), message=on_publish))
app.listen(AppListenOptions(port=port, host="127.0.0.1"), lambda _: None)
app.run()
