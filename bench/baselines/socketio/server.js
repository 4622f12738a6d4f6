// Socket.IO as its documentation starts it, over WebSocket only. POST {"count": n, "text": s} emits n messages to all and
// answers; a count of 0 collects garbage, so that what is weighed afterwards is in use.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const { count, text } = JSON.parse(body);
  if (count === 0) global.gc();
  for (let at = 0; at < count; at++) io.emit("message", { text });
  response.end("{}");
});
const hour = 3600 * 1000;
const io = new Server(http, { transports: ["websocket"], pingInterval: hour, pingTimeout: hour });
http.listen(Number(process.argv[2]), "127.0.0.1");
