// Parse Server with a cloud function that does what the benchmark's action does: it requires a user, checks its fields and
// charges a limit, which Parse keeps in memory.
import express from "express";
import { ParseServer } from "parse-server";

const [port, database, sockets] = process.argv.slice(2);
const isItem = (item) => typeof item.sku === "string" && item.sku.length > 0 && item.sku.length <= 64
  && Number.isInteger(item.quantity) && item.quantity >= 1 && item.quantity <= 1000;
const areItems = (items) => items.length >= 1 && items.length <= 100 && items.every(isItem);

function price({ params: { items } }) {
  return { lines: items.length, total: 1000 * items.reduce((sum, item) => sum + item.quantity, 0) };
}

const parse = new ParseServer({
  appId: "bench",
  masterKey: "not used",
  serverURL: `http://127.0.0.1:${port}/parse`,
  databaseURI: database,
  databaseOptions: { host: sockets },
  cloud: () => Parse.Cloud.define("price", price, {
    requireUser: true,
    fields: { items: { required: true, type: Array, options: areItems } },
  }),
  rateLimit: [{ requestPath: "/functions/*path", requestTimeWindow: 1000, requestCount: 1000000 }],
  logLevel: "error",
  silent: true,
});
await parse.start();
const application = express();
application.use("/parse", parse.app);
application.listen(Number(port), "127.0.0.1");
