// What an application writes over the generated types: it must compile strictly, and see the code of every refusal.
import createClient from "openapi-fetch";
import type { paths } from "./schema";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export async function journey(): Promise<string> {
  const registered = await client.POST("/v1/auth/register", { body: { email: "ada@example.com", password: "correct horse battery" } });
  if (registered.error) {
    const code: string = registered.error.code;
    return code;
  }
  if (!registered.data) return "a mail says the rest"; // registration is `verified`
  const id: string = registered.data.user.id;

  const placed = await client.POST("/orders", { body: { items: [{ sku: "tea", quantity: 1 }] } });
  if (placed.error) {
    const taken: "RATE_LIMITED" | "REFUSED" | (string & {}) = placed.error.code;
    return taken;
  }
  const order: { id: string; status: "pending" | "paid" | "shipped" | "cancelled"; total: number } = placed.data;

  const paid = await client.POST("/orders/{order_id}/pay", { params: { path: { order_id: order.id } } });
  const status: number = paid.response.status;
  if (paid.error) return `${status} ${paid.error.code} ${paid.error.detail} ${paid.error.errors?.[0]?.pointer ?? ""}`;

  const found = await client.GET("/boxes", { params: { query: { colour: "red", sizes: [1, 2], is_open: true } } });
  if (found.error) return found.error.code;
  const names: string[] = found.data.map((box) => box.name);

  const key = { namespace: "orders", key: order.id };
  const read = await client.GET("/v1/state/{namespace}/{key}", { params: { path: key, header: { "If-None-Match": '"1"' } } });
  if (read.error) return read.error.code;
  const version: number = read.data?.version ?? 0;

  const listed = await client.GET("/v1/state/{namespace}", { params: { path: { namespace: "orders" }, query: { page_size: 10 } } });
  if (listed.error) return listed.error.code;
  const token: string | null = listed.data.next_page_token;

  const history = await client.GET("/v1/state/{namespace}/{key}/history", { params: { path: key } });
  if (history.error) return history.error.code;
  const change: "created" | "updated" | "transitioned" | "assigned" | "deleted" | "migrated" | undefined = history.data.items[0]?.change;

  const written = await client.PUT("/v1/state/{namespace}/{key}", { params: { path: key }, body: { data: { any: "thing" } } });
  if (written.error) return written.error.code;
  return `${id} ${names.join()} ${version} ${token} ${change}`;
}
