// Bun, whose WebSocket server is uWebSockets: /echo sends back, /room publishes to its subscribers.
//
// usage: bun bun.js PORT [deflate]

const [port, deflate] = process.argv.slice(2);
const compress = deflate !== undefined;

const server = Bun.serve({
  port: Number(port),
  hostname: "127.0.0.1",
  fetch(request, server) {
    const isRoom = new URL(request.url).pathname === "/room";
    return server.upgrade(request, { data: { isRoom } })
      ? undefined
      : new Response("a WebSocket is wanted\n", { status: 400 });
  },
  websocket: {
    perMessageDeflate: compress ? { compress: "shared", decompress: "shared" } : false,
    maxPayloadLength: 16 << 20,
    // The load generator reads as fast as it can; nobody is meant to be cut off here.
    backpressureLimit: 64 << 20,
    idleTimeout: 120,
    open(socket) {
      if (socket.data.isRoom) socket.subscribe("room");
    },
    message(socket, message) {
      if (socket.data.isRoom) server.publish("room", message, compress);
      else socket.send(message, compress);
    },
  },
});
