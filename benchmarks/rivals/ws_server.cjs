// The ws package of Node: a set of sockets for each room, and a loop of send().
//     node ws_server.cjs PORT
"use strict";
const { WebSocketServer } = require("ws");

const rooms = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: process.env.PER_MESSAGE_DEFLATE === "true", // ws itself compresses from 1,024 bytes on
});

server.on("connection", (socket, request) => {
  const room = request.url;
  const members = rooms.get(room) ?? new Set();
  rooms.set(room, members.add(socket));
  socket.on("message", (data, isBinary) => {
    for (const member of members) member.send(data, { binary: isBinary });
  });
  socket.on("close", () => members.delete(socket));
  socket.on("error", () => socket.terminate());
});
