// ws, the usual WebSocket server of Node.js: /echo sends back, /room sends to everybody there.
//
// usage: node ws.js PORT [deflate]

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const [port, deflate] = process.argv.slice(2);
const server = createServer();
const sockets = new WebSocketServer({
  server,
  // Without context takeover, which is what a room of many members can afford.
  perMessageDeflate: deflate
    ? { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 128, zlibDeflateOptions: { level: 1 } }
    : false,
});
const room = new Set();

sockets.on("connection", (socket, request) => {
  socket.on("error", () => {});
  if (request.url === "/room") {
    room.add(socket);
    socket.on("close", () => room.delete(socket));
    socket.on("message", (data, isBinary) => {
      for (const member of room) member.send(data, { binary: isBinary });
    });
  } else {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  }
});
server.listen(Number(port), "127.0.0.1", 4096);
