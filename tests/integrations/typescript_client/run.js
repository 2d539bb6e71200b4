// Prints the results of the compiled program as JSON: node run.js ADDRESS KEY
import { connect, drawSevens, findNothing, startAndCancel } from "./digits.js";

const service = connect(...process.argv.slice(2));
const { png, seed } = await drawSevens(service);
const results = { png: Buffer.from(png).toString("base64"), seed, ...(await startAndCancel(service)), nothing: await findNothing(service) };
console.log(JSON.stringify(results));
