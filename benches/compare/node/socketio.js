// Socket.IO: the event `echo` goes back, the event `publish` goes to everybody.
//
// usage: node socketio.js PORT [deflate]

import { createServer } from "node:http";
import { Server } from "socket.io";

const [port, deflate] = process.argv.slice(2);
const server = createServer();
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: deflate
    ? { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 128, zlibDeflateOptions: { level: 1 } }
    : false,
});

io.on("connection", (socket) => {
  socket.on("echo", (data) => socket.emit("echo", data));
  socket.on("publish", (data) => io.emit("publish", data));
});
server.listen(Number(port), "127.0.0.1", 4096);
