// A program that knows the service only from the types that openapi-typescript generates. The compiler checks it.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Service = ReturnType<typeof connect>;
export type Event = components["schemas"]["JobEvent"];

export function connect(address: string, key: string) {
  return createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });
}

/** Return seven sevens as PNG, and the seed in the response's header. */
export async function drawSevens(client: Service): Promise<{ png: ArrayBuffer; seed: string | null }> {
  const { data, error, response } = await client.GET("/digits/{label}", {
    params: { path: { label: 7 }, query: { n: 7, seed: 4 } },
    parseAs: "arrayBuffer",
  });
  if (error) throw new Error(error.detail);
  return { png: data, seed: response.headers.get("X-Seed") };
}

/** Start a run and cancel it. Returns the path of the run and its last status. */
export async function startAndCancel(client: Service): Promise<{ path: string | null; status: string }> {
  const started = await client.POST("/train", { body: { epochs: 2, dataset: "printed" } });
  if (started.error) throw new Error(started.error.detail);
  const params = { path: { job_id: started.data.id } };
  const cancelled = await client.POST("/jobs/{job_id}/cancel", { params });
  if (cancelled.error) throw new Error(cancelled.error.detail);
  return { path: started.response.headers.get("Location"), status: cancelled.data.status };
}

/** Return the kind of error of a job that does not exist. */
export async function findNothing(client: Service): Promise<string> {
  const { error } = await client.GET("/jobs/{job_id}", { params: { path: { job_id: "nothing" } } });
  return error?.type === "/problems/job-not-found" ? "no such job" : "another response";
}

/** Return the share of an epoch that is done, for the events that have it. */
export function share(event: Event): number | undefined {
  return event.event === "progress" ? event.data.batch / event.data.batches : undefined;
}
