// Each line below `@ts-expect-error` is a mistake. The compiler reports the comment if it accepts the line.
import createClient from "openapi-fetch";
import type { Event } from "./digits.js";
import type { paths } from "./schema.js";

const client = createClient<paths>({ baseUrl: "" });

// @ts-expect-error: the parameter is `n`
client.GET("/digits/{label}", { params: { path: { label: 7 }, query: { number: 7 } } });
// @ts-expect-error: a label is a number
client.GET("/digits/{label}", { params: { path: { label: "seven" } } });
// @ts-expect-error: no such recipe
client.POST("/train", { body: { recipe: "letters" } });

const { error } = await client.GET("/jobs/{job_id}", { params: { path: { job_id: "a" } } });
// @ts-expect-error: this operation has no such error
export const isCheckpoint = error?.type === "/problems/checkpoint-not-found";

export function wrong(event: Event): unknown {
  // @ts-expect-error: only the event `progress` has batches
  return event.event === "epoch" ? event.data.batches : undefined;
}
